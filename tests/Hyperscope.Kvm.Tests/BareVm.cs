using System.Buffers.Binary;
using System.Collections.Concurrent;
using Hyperscope.Vm;
using Hyperscope.X64;

namespace Hyperscope.Kvm.Tests;

/// <summary>vCPUs of the KVM back end without a board, in flat 64-bit mode. Each adds one to a counter of its own on each of some pages, round after round, then halts.</summary>
internal sealed class BareVm : IPageTrackSubscriber, IDisposable
{
    public const int Pages = 4;

    private const ulong Code = FlatLongMode.End, FirstPage = 0x10_000, Bytes = 0x40_000;

    private readonly KvmBackend _backend;
    private readonly ProcessorGroup _group;
    private readonly ViewTable _views = new();
    private readonly Thread[] _threads;
    private readonly ConcurrentQueue<Exception> _failures = new();

    public BareVm(int vcpus, ulong rounds, ProtectionMethod protection = ProtectionMethod.Auto)
    {
        Memory.AddSlot(new Gpa(0), Bytes);
        byte[] image = new byte[FirstPage];
        FlatLongMode.WriteTables(image);

        // inc qword [rdi], on each page; dec rcx; jnz; hlt
        List<byte> code = [];
        for (int page = 0; page < Pages; page++)
            code.AddRange([0x48, 0xFF, 0x87, 0, (byte)(page << 4), 0, 0]);
        code.AddRange([0x48, 0xFF, 0xC9, 0x75, (byte)-(code.Count + 5), 0xF4]);
        code.CopyTo(image, (int)Code);
        Assert.True(Memory.TryLoad(new Gpa(0), image));
        _group = new ProcessorGroup(Memory, _views, new Machine.DeviceBus());
        for (int index = 0; index < vcpus; index++)
            _ = _group.AddVcpu(new CpuModel());
        _backend = new KvmBackend(_group, protection: protection);
        foreach (SoftwareVcpu vcpu in _group.Vcpus)
        {
            vcpu.GetSpecialRegisters(out KvmSregs special);
            FlatLongMode.Enter(ref special);
            vcpu.SetSpecialRegisters(special);
            vcpu.SetRegisters(new KvmRegs { Rip = Code, Rcx = rounds, Rdi = Counter(vcpu.Index.Value, 0).Value, Rflags = 2 });
            vcpu.Start();
        }

        Memory.PageTracker.Subscribe(this);
        _threads = [.. _group.Vcpus.Select(vcpu => new Thread(() => Run(vcpu)) { IsBackground = true, Name = $"vcpu {vcpu.Index}" })];
    }

    public GuestMemory Memory { get; } = new();

    /// <summary>What to do at an access to a restricted page; runs on the vCPU's thread, which waits.</summary>
    public Func<int, PageTrackAccess, PageTrackVerdict> OnAccess { get; set; } = static (_, _) => PageTrackVerdict.Allow;

    /// <summary>Where a vCPU counts on a page.</summary>
    public static Gpa Counter(int vcpu, int page) => new(FirstPage + ((ulong)page << Gfn.PageShift) + ((ulong)vcpu * 8));

    public static int PageOf(Gpa gpa) => (int)((gpa.Value - FirstPage) >> Gfn.PageShift);

    public ulong Count(int vcpu, int page)
    {
        Span<byte> value = stackalloc byte[8];
        Assert.True(Memory.TryRead(Counter(vcpu, page), value));
        return BinaryPrimitives.ReadUInt64LittleEndian(value);
    }

    public void Start() => Array.ForEach(_threads, static thread => thread.Start());

    /// <summary>Waits until every vCPU has halted; false: not in time.</summary>
    public bool Wait(TimeSpan patience)
    {
        long deadline = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        bool isDone = Array.TrueForAll(_threads, thread => thread.Join((int)Math.Max(0, deadline - Environment.TickCount64)));
        Assert.Empty(_failures);
        return isDone;
    }

    public bool IsRunning => Array.Exists(_threads, static thread => thread.IsAlive);

    /// <summary>Changes the rights of a page; returns when they are in force.</summary>
    public void SetAccess(int page, PageAccess access)
    {
        lock (_views.Main.AccessMap.WriterLock)
            _ = _views.Main.AccessMap.Set(Counter(0, page).Frame, access);
        _backend.ApplyRestrictions();
        _group.InvalidateTranslations();
    }

    public PageTrackVerdict BeforeAccess(IVcpu vcpu, in PageTrackAccess access) => OnAccess(vcpu.Index.Value, access);

    public void SlotCreated(MemorySlot slot)
    {
    }

    public void SlotFlushed(MemorySlot slot)
    {
    }

    public void Dispose()
    {
        foreach (SoftwareVcpu vcpu in _group.Vcpus)
            vcpu.RequestStop();
        foreach (Thread thread in _threads)
        {
            if (thread.ThreadState != ThreadState.Unstarted)
                thread.Join();
        }

        _backend.Dispose();
        foreach (SoftwareVcpu vcpu in _group.Vcpus)
            vcpu.Dispose();
        Memory.Dispose();
    }

    private void Run(SoftwareVcpu vcpu)
    {
        try
        {
            RunOutcome outcome = vcpu.Run(returnOnHalt: true);
            vcpu.GetRegisters(out KvmRegs registers);
            if (outcome == RunOutcome.Shutdown || (outcome == RunOutcome.Halted && registers.Rcx != 0))
                throw new InvalidOperationException($"vCPU {vcpu.Index} ended with {outcome} at 0x{registers.Rip:x}, {registers.Rcx} rounds left");
        }
        catch (Exception failure) when (failure is InvalidOperationException or IOException)
        {
            _failures.Enqueue(failure);
        }
    }
}
