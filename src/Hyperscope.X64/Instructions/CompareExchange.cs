using System.Numerics;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>CMPXCHG, CMPXCHG8B, CMPXCHG16B, XADD.</summary>
internal static unsafe class CompareExchange
{
    private const int Rax = 0, Rcx = 1, Rdx = 2, Rbx = 3;

    public static void Register(OpcodeMap map)
    {
        map.Add(0x0FB0, new OpcodeRow("cmpxchg", Encoding.RmD | Encoding.RegS | Encoding.Byte, Form)
        { Flags = RowFlags.Lockable, Writes = Rflags.Arithmetic });
        map.Add(0x0FB1, new OpcodeRow("cmpxchg", Encoding.RmD | Encoding.RegS, Form) { Flags = RowFlags.Lockable, Writes = Rflags.Arithmetic });
        map.Add(0x0FC0, new OpcodeRow("xadd", Encoding.RmD | Encoding.RegS | Encoding.Byte, AddForm)
        { Flags = RowFlags.Lockable, Writes = Rflags.Arithmetic });
        map.Add(0x0FC1, new OpcodeRow("xadd", Encoding.RmD | Encoding.RegS, AddForm) { Flags = RowFlags.Lockable, Writes = Rflags.Arithmetic });
        map.AddGroup(0x0FC7, 1, new OpcodeRow("cmpxchg8b", Encoding.PlainReg | Encoding.Dword, static (in insn) =>
            insn.OperandSize == 8 ? Handlers.Addressed<SixteenBytes>(insn) : Handlers.Addressed<EightBytes>(insn))
        { Flags = RowFlags.Lockable | RowFlags.MemoryOnly, Writes = Rflags.Zf, Feature = "CX8, CX16" });
    }

    private static delegate*<CpuState*, Op*, Op*> Form(in Insn insn) => insn.IsMemory ? Handlers.Sized<Memory>(insn) : Handlers.Sized<Registers>(insn);

    private static delegate*<CpuState*, Op*, Op*> AddForm(in Insn insn) =>
        insn.IsMemory ? Handlers.Sized<AddMemory>(insn) : Handlers.Sized<AddRegisters>(insn);

    private static void SetCompareFlags<T>(CpuState* c, T accumulator, T seen)
        where T : unmanaged, IBinaryInteger<T> => Flags.SetSub(c, accumulator, seen, unchecked(accumulator - seen));

    private readonly struct Registers : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            T accumulator = Handlers.Get<T>(c, Rax), seen = Handlers.Get<T>(c, o->D);
            SetCompareFlags(c, accumulator, seen);
            if (accumulator == seen)
            {
                Handlers.Set(c, o->D, Handlers.Get<T>(c, o->S));
                return true;
            }

            Handlers.Set(c, Rax, seen); // and nothing else: the upper half of a 32-bit destination stays
            return true;
        }
    }

    // The destination is written either way, as on the processor: with what it holds if the comparison fails.
    private readonly struct Memory : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            T* memory = Mem.Modify<T, TAddressing>(c, o);
            if (memory == null)
                return false;
            T accumulator = Handlers.Get<T>(c, Rax), replacement = Handlers.Get<T>(c, o->S), seen;
            if ((o->Bits & OpBits.Lock) != 0)
            {
                seen = Atomic.CompareExchange(memory, replacement, accumulator);
            }
            else
            {
                seen = *memory;
                if (seen == accumulator)
                    *memory = replacement;
            }

            Mem.Commit(c, memory);
            SetCompareFlags(c, accumulator, seen);
            if (seen != accumulator)
                Handlers.Set(c, Rax, seen);
            return true;
        }
    }

    private readonly struct AddRegisters : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            T left = Handlers.Get<T>(c, o->D), right = Handlers.Get<T>(c, o->S), sum = unchecked(left + right);
            Handlers.Set(c, o->S, left);
            Handlers.Set(c, o->D, sum); // last: XADD of a register with itself leaves the sum
            Flags.SetAdd(c, left, right, sum);
            return true;
        }
    }

    private readonly struct AddMemory : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            T* memory = Mem.Modify<T, TAddressing>(c, o);
            if (memory == null)
                return false;
            T right = Handlers.Get<T>(c, o->S), left = *memory;
            if ((o->Bits & OpBits.Lock) == 0)
            {
                *memory = unchecked(left + right);
            }
            else
            {
                while (true)
                {
                    T before = left;
                    left = Atomic.CompareExchange(memory, unchecked(before + right), before);
                    if (left == before)
                        break;
                }
            }

            Mem.Commit(c, memory);
            Handlers.Set(c, o->S, left);
            Flags.SetAdd(c, left, right, unchecked(left + right));
            return true;
        }
    }

    private readonly struct EightBytes : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            ulong* memory = Mem.Modify<ulong, TAddressing>(c, o);
            if (memory == null)
                return false;
            ulong expected = (c->R[Rdx] << 32) | (uint)c->R[Rax], replacement = (c->R[Rcx] << 32) | (uint)c->R[Rbx], seen;
            if ((o->Bits & OpBits.Lock) != 0)
            {
                seen = Atomic.CompareExchange(memory, replacement, expected);
            }
            else
            {
                seen = *memory;
                if (seen == expected)
                    *memory = replacement;
            }

            Mem.Commit(c, memory);
            Flags.SetZero(c, seen == expected);
            if (seen != expected)
            {
                c->R[Rax] = (uint)seen;
                c->R[Rdx] = seen >> 32;
            }

            return true;
        }
    }

    // .NET has no 16-byte compare and exchange. Without LOCK none is asked for; with it the instruction runs while no other vCPU does.
    private readonly struct SixteenBytes : IAddressed
    {
        public static bool Run<TAddressing>(CpuState* c, Op* o)
            where TAddressing : struct, IAddressing
        {
            ulong linear = TAddressing.Linear(c, o, 16, isWrite: true);
            if ((linear & 15) != 0)
                return c->RaiseGp(o);
            if ((o->Bits & OpBits.Lock) != 0 && c->Owner.MustBeExclusive(o))
                return false;
            var memory = (ulong*)Mem.ModifyLinear<UInt128>(c, o, linear);
            if (memory == null)
                return false;
            ulong low = memory[0], high = memory[1];
            bool isEqual = low == c->R[Rax] && high == c->R[Rdx];
            if (isEqual)
            {
                memory[0] = c->R[Rbx];
                memory[1] = c->R[Rcx];
            }

            Mem.Commit(c, memory);
            Flags.SetZero(c, isEqual);
            if (!isEqual)
            {
                c->R[Rax] = low;
                c->R[Rdx] = high;
            }

            return true;
        }
    }
}
