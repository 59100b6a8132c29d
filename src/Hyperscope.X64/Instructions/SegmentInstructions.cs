using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>ARPL and the rest of the segment family.</summary>
internal static unsafe class SegmentInstructions
{
    public static delegate*<CpuState*, Op*, Op*> AdjustRpl(in Insn insn)
    {
        _ = insn;
        return null;
    }
}
