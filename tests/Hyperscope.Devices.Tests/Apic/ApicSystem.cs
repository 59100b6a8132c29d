using Hyperscope.Vm;

namespace Hyperscope.Devices.Tests;

/// <summary>Local APICs, IOAPIC and 8259 wired as on the board, with a clock in the test's hand and a 2 GHz TSC.</summary>
internal sealed class ApicSystem : IDisposable
{
    public const ulong TscFrequency = 2_000_000_000;

    public ApicSystem(int vcpus)
    {
        Vcpus = [.. Enumerable.Range(0, vcpus).Select(_ => new RecordingVcpu())];
        var tsc = new ClockTimeStampCounter(Clock, TscFrequency);
        Locals = [.. Vcpus.Select((vcpu, index) => new LocalApic((uint)index, index == 0, Clock, tsc, vcpu, Bus))];
        foreach (LocalApic local in Locals)
            Bus.Attach(local);
        IoApic = new IoApic(Bus);
        Bus.Attach(IoApic);
        Pic = new DualPic(new Lint0(Locals[0]));
        Controllers = [.. Locals.Select((local, index) => new InterruptController(local, index == 0 ? Pic : null))];
    }

    public ManualGuestClock Clock { get; } = new();

    public ApicBus Bus { get; } = new();

    public RecordingVcpu[] Vcpus { get; }

    public LocalApic[] Locals { get; }

    public IoApic IoApic { get; }

    public DualPic Pic { get; }

    public InterruptController[] Controllers { get; }

    public uint Read(int vcpu, int offset) => (uint)Locals[vcpu].ReadMemory((ulong)offset, 4);

    public void Write(int vcpu, int offset, uint value) => Locals[vcpu].WriteMemory((ulong)offset, 4, value);

    /// <summary>Sets the spurious-vector register's enable bit everywhere.</summary>
    public void EnableAll()
    {
        for (int i = 0; i < Locals.Length; i++)
            Write(i, 0xf0, 0x1ff);
    }

    public void EnableX2(int vcpu) =>
        Assert.True(Controllers[vcpu].TryWriteMsr(MsrIndex.ApicBase, Controllers[vcpu].ApicBase | 0x400));

    public ulong ReadMsr(int vcpu, uint index)
    {
        Assert.True(Controllers[vcpu].TryReadMsr(index, out ulong value));
        return value;
    }

    public void SendIpi(int vcpu, uint destination, uint command)
    {
        Write(vcpu, 0x310, destination << 24);
        Write(vcpu, 0x300, command);
    }

    public void SetRedirection(int pin, ulong entry)
    {
        IoApic.WriteMemory(0, 4, (ulong)(0x11 + (2 * pin)));
        IoApic.WriteMemory(0x10, 4, entry >> 32);
        IoApic.WriteMemory(0, 4, (ulong)(0x10 + (2 * pin)));
        IoApic.WriteMemory(0x10, 4, entry & uint.MaxValue);
    }

    public ulong GetRedirection(int pin)
    {
        IoApic.WriteMemory(0, 4, (ulong)(0x10 + (2 * pin)));
        ulong low = (uint)IoApic.ReadMemory(0x10, 4);
        IoApic.WriteMemory(0, 4, (ulong)(0x11 + (2 * pin)));
        return low | (IoApic.ReadMemory(0x10, 4) << 32);
    }

    public byte Acknowledge(int vcpu)
    {
        Assert.True(Controllers[vcpu].HasPending);
        Assert.True(Controllers[vcpu].TryAcknowledge(out byte vector));
        return vector;
    }

    public void Dispose()
    {
        foreach (LocalApic local in Locals)
            local.Dispose();
    }

    private sealed class Lint0(LocalApic local) : IInterruptLine
    {
        public void Set(bool asserted) => local.SetLint0(asserted);
    }
}
