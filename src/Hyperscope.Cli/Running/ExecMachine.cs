using System.Buffers.Binary;
using Hyperscope.Machine;
using Hyperscope.X64;

namespace Hyperscope.Cli.Running;

/// <summary>The machine of <c>exec</c>: one vCPU and a piece of memory, put into a known state before each case.</summary>
/// <remarks>Memory begins at 0 and linear addresses are physical ones in every mode. In 64-bit mode page tables behind 4 GiB map the first GiB with
/// user rights; addresses without memory read as ones.</remarks>
internal sealed class ExecMachine : IDisposable
{
    private const ulong TableAddress = 1UL << 32;
    private const ulong MappedBytes = 1UL << 30;
    private const ulong EntryBits = 0x67; // present, writable, user, accessed, dirty

    private readonly GuestMemory _memory = new();
    private readonly byte[] _zeros = new byte[1 << 20];
    private readonly byte[] _tables = new byte[3 * 4096];

    public ExecMachine(ulong memoryBytes)
    {
        MemoryBytes = memoryBytes;
        _ = _memory.AddSlot(new Gpa(0), memoryBytes);
        _ = _memory.AddSlot(new Gpa(TableAddress), (ulong)_tables.Length);
        WriteEntry(0, TableAddress + 4096 + EntryBits);
        WriteEntry(512, TableAddress + 8192 + EntryBits);
        for (ulong index = 0; index < 512; index++)
            WriteEntry((int)(1024 + index), (index << 21) + EntryBits + 0x80);
        Vcpu = new ProcessorGroup(_memory, new ViewTable(), new DeviceBus()).AddVcpu(new CpuModel());
    }

    public ulong MemoryBytes { get; }

    public SoftwareVcpu Vcpu { get; }

    /// <summary>Clears memory and registers and selects the mode, flat segments, privilege level and reset values of everything else.</summary>
    public void Reset(CpuMode mode, int ring)
    {
        for (ulong done = 0; done < MemoryBytes; done += (ulong)_zeros.Length)
            Write(done, _zeros.AsSpan(0, (int)Math.Min((ulong)_zeros.Length, MemoryBytes - done)));
        _ = _memory.TryWrite(new Gpa(TableAddress), _tables);
        Vcpu.Reset();
        Vcpu.GetSpecialRegisters(out KvmSregs special);
        special.Cr0 = mode == CpuMode.Bits16 ? 0x32ul : 0x33; // MP, ET, NE; PE
        special.Cr4 = 0x600; // OSFXSR, OSXMMEXCPT
        bool isReal = mode == CpuMode.Bits16;
        var data = new KvmSegment
        {
            Selector = (ushort)(isReal ? 0 : 0x10 | ring),
            Limit = isReal ? 0xFFFFu : uint.MaxValue,
            Type = 3,
            Present = 1,
            S = 1,
            Dpl = (byte)ring,
            Db = (byte)(isReal ? 0 : 1),
            G = (byte)(isReal ? 0 : 1),
        };
        special.Ds = special.Es = special.Fs = special.Gs = special.Ss = data;
        special.Cs = data with { Selector = (ushort)(isReal ? 0 : 0x8 | ring), Type = 11 };
        if (mode == CpuMode.Bits64)
        {
            special.Cs.L = 1;
            special.Cs.Db = 0;
            special.Cr0 |= 1ul << 31;
            special.Cr3 = TableAddress;
            special.Cr4 |= 1 << 5;
            special.Efer = 0xD01; // SCE, LME, LMA, NXE
        }

        Vcpu.SetSpecialRegisters(special);
    }

    public bool Write(ulong address, ReadOnlySpan<byte> bytes) => IsMemory(address, (ulong)bytes.Length) && _memory.TryWrite(new Gpa(address), bytes);

    public bool Read(ulong address, Span<byte> bytes) => IsMemory(address, (ulong)bytes.Length) && _memory.TryRead(new Gpa(address), bytes);

    public void Dispose()
    {
        Vcpu.Dispose();
        _memory.Dispose();
    }

    /// <summary>The largest memory the tables can map.</summary>
    public static ulong MaxMemoryBytes => MappedBytes;

    private bool IsMemory(ulong address, ulong length) => address <= MemoryBytes && length <= MemoryBytes - address;

    private void WriteEntry(int index, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(_tables.AsSpan(index * 8), value);
}
