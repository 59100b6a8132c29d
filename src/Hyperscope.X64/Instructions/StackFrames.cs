using System.Numerics;
using System.Runtime.CompilerServices;
using Hyperscope.X64.Decoding;
using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Instructions;

/// <summary>PUSHA POPA ENTER BOUND.</summary>
internal static unsafe class StackFrames
{
    private const int Rsp = 4, Rbp = 5;

    public static void Register(OpcodeMap map)
    {
        map.Add(0x60, new OpcodeRow("pusha", Encoding.None, Handlers.Sized<PushAll>) { Flags = RowFlags.Not64 });
        map.Add(0x61, new OpcodeRow("popa", Encoding.None, Handlers.Sized<PopAll>) { Flags = RowFlags.Not64 });
        map.Add(0xC8, new OpcodeRow("enter", Encoding.Imm16 | Encoding.Imm8Second | Encoding.Default64, Handlers.Sized<Enter>));
        map.Add(0x62, new OpcodeRow("bound", Encoding.RegD, Handlers.Sized<Bound>) { Flags = RowFlags.Not64 | RowFlags.MemoryOnly });
    }

    // Deviation: a 16-bit stack that would wrap in the middle of the eight registers is #SS, not a wrap.
    private readonly struct PushAll : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            ulong pointer = Stack.Moved(c, o, -8 * sizeof(T));
            ulong linear = Stack.Linear(c, o, pointer, 8 * sizeof(T), isWrite: true);
            var staged = (T*)c->Staging;
            for (int register = 0; register < 8; register++)
                staged[7 - register] = Handlers.Get<T>(c, register * 8);
            if (!Mem.WriteStaged(c, o, linear, 8 * sizeof(T)))
                return false;
            c->R[Rsp] = pointer;
            return true;
        }
    }

    private readonly struct PopAll : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            var source = (T*)Mem.ReadSlow(c, o, Stack.Linear(c, o, c->R[Rsp], 8 * sizeof(T), isWrite: false), 8 * sizeof(T));
            if (source == null)
                return false;
            for (int register = 0; register < 8; register++)
            {
                if (register != Rsp)
                    Handlers.Set(c, register * 8, source[7 - register]);
            }

            Stack.Drop(c, o, 8 * sizeof(T));
            return true;
        }
    }

    // What is pushed is contiguous: the frame pointer on top of the enclosing display, then the new frame's address.
    private readonly struct Enter : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            int level = (int)o->Displacement & 31, copied = Math.Max(level - 1, 0), pushed = 1 + copied + (level > 0 ? 1 : 0);
            ulong frame = Stack.Moved(c, o, -sizeof(T)), pointer = Stack.Moved(c, o, -pushed * sizeof(T));
            ulong final = Stack.Moved(c, o, (-pushed * sizeof(T)) - o->Immediate);
            if (copied > 0 && !CopyDisplay<T>(c, o, copied))
                return false;
            ulong linear = Stack.Linear(c, o, pointer, pushed * sizeof(T), isWrite: true);

            // A final stack pointer that could not be pushed at faults as well (SDM vol. 2, "ENTER").
            if (o->Immediate != 0 && !c->Owner.ProbeWrite(o, Stack.Linear(c, o, final, sizeof(T), isWrite: true), sizeof(T)))
                return false;
            var staged = (T*)c->Staging;
            if (level > 0)
                staged[0] = T.CreateTruncating(frame);
            staged[pushed - 1] = Handlers.Get<T>(c, Rbp * 8);
            if (!Mem.WriteStaged(c, o, linear, pushed * sizeof(T)))
                return false;
            Handlers.Set(c, Rbp * 8, T.CreateTruncating(frame));
            c->R[Rsp] = final;
            return true;
        }
    }

    // Reads the enclosing display to its place in Staging, behind the slot of the new frame's address.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool CopyDisplay<T>(CpuState* c, Op* o, int count)
        where T : unmanaged, IBinaryInteger<T>
    {
        int bytes = count * sizeof(T);
        byte* source = Mem.ReadSlow(c, o, Stack.Linear(c, o, c->R[Rbp] - (ulong)bytes, bytes, isWrite: false), bytes);
        if (source == null)
            return false;
        Buffer.MemoryCopy(source, c->Staging + sizeof(T), bytes, bytes);
        return true;
    }

    private readonly struct Bound : ISized
    {
        public static bool Run<T, TAddressing>(CpuState* c, Op* o)
            where T : unmanaged, IBinaryInteger<T>
            where TAddressing : struct, IAddressing
        {
            var bounds = (T*)Mem.ReadSlow(c, o, TAddressing.Linear(c, o, 2 * sizeof(T), isWrite: false), 2 * sizeof(T));
            if (bounds == null)
                return false;
            T index = Handlers.Get<T>(c, o->D);
            return !(Compare.SignedLess(index, bounds[0]) || Compare.SignedLess(bounds[1], index)) || c->Raise(o, X64.Vector.BoundRange);
        }
    }
}
