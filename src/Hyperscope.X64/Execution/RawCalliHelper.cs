using System.Runtime.CompilerServices;

namespace Hyperscope.X64.Execution;

/// <summary>Goes to the handler of an op.</summary>
/// <remarks>The name of this class is known to the native compiler. In .NET a function pointer may stand for a method with a generic dictionary,
/// which a native program marks in the pointer and tests for at each call: two more branches in every handler. In a class of this name it leaves the test
/// out (ILCompiler, Compilation.IsFatPointerCandidate). That is sound for handlers: all their type arguments are structs, so they need no
/// dictionary and their pointers carry no mark, which <see cref="IsPlain"/> lets the emitter of ops verify. Under another name, or if a later
/// compiler knows none, everything works alike and slower.</remarks>
internal static unsafe class RawCalliHelper
{
    /// <summary>True for a pointer to code, false for one to a dictionary.</summary>
    public static bool IsPlain(delegate*<CpuState*, Op*, Op*> handler) => ((nint)handler & 2) == 0;

    /// <summary>Calls the handler; in tail position of an optimized method this is a jump.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Op* Invoke(CpuState* c, Op* o) => o->Handler(c, o);
}
