using System.Diagnostics;
using Hyperscope.Compare.Guests;
using Hyperscope.Kvm;
using Hyperscope.LinuxHost;
using Hyperscope.X64;

namespace Hyperscope.Compare.Comparisons;

/// <summary>A store to a page that is not writable, allowed each time: one instruction in the software CPU against opening the page, a single
/// step and closing it again, turn by turn. The second way learns neither address nor kind of the access.</summary>
internal static class KvmEvents
{
    private const int Turns = 7;

    public static int Run(double scale)
    {
        int events = (int)(5000 * scale);
        List<double> emulated = [], stepped = [];
        for (int turn = 0; turn < Turns; turn++)
        {
            emulated.Add(Emulated(events) / events * 1e6);
            stepped.Add(Stepped(events) / events * 1e6);
        }

        Console.WriteLine($"{events} events a turn, {Turns} turns each, microseconds an event:");
        Console.WriteLine($"EFAULT, one instruction emulated  {emulated.Min(),8:f1}   (median {emulated.Order().ElementAt(Turns / 2):f1})");
        Console.WriteLine($"open, single-step, re-protect     {stepped.Min(),8:f1}   (median {stepped.Order().ElementAt(Turns / 2):f1})");
        Console.WriteLine($"ratio of the best                 {stepped.Min() / emulated.Min(),8:f2}   of the medians {stepped.Order().ElementAt(Turns / 2) / emulated.Order().ElementAt(Turns / 2):f2}");
        return 0;
    }

    private static double Emulated(int events)
    {
        using var memory = new GuestMemory();
        _ = memory.AddSlot(new Gpa(0), BareGuest.Bytes);
        _ = memory.TryLoad(new Gpa(0), BareGuest.Image(BareGuest.Loop(1UL << 40)));
        var map = new AccessMap();
        var group = new ProcessorGroup(memory, map, new Machine.DeviceBus());
        using SoftwareVcpu vcpu = group.AddVcpu(new CpuModel());
        using var backend = new KvmBackend(group);
        vcpu.GetSpecialRegisters(out KvmSregs special);
        (KvmRegs general, special) = BareGuest.Registers(special);
        vcpu.SetSpecialRegisters(special);
        vcpu.SetRegisters(general);
        lock (map.WriterLock)
            _ = map.Set(new Gpa(BareGuest.Page).Frame, PageAccess.Read | PageAccess.Execute);
        backend.ApplyRestrictions();
        var watcher = new Watcher(vcpu, events);
        memory.PageTracker.Subscribe(watcher);
        _ = vcpu.Run();
        return Stopwatch.GetElapsedTime(watcher.Started).TotalSeconds;
    }

    private static double Stepped(int events)
    {
        using var device = new KvmDevice();
        using KvmVm vm = device.CreateVm();
        using var memory = new SharedMemory("bench", BareGuest.Bytes);
        using MemoryMapping view = memory.Map(0, BareGuest.Bytes);
        Load(view, BareGuest.Image(BareGuest.Loop(1UL << 40)));
        vm.SetMemory(0, new Gpa(0), BareGuest.Bytes, view.Address, isReadOnly: false);
        using KvmVcpu vcpu = vm.CreateVcpu(new VcpuIndex(0));
        vcpu.SetCpuid(device.GetSupportedCpuid());
        vcpu.GetSregs(out KvmSregs special);
        (KvmRegs general, special) = BareGuest.Registers(special);
        vcpu.SetSregs(special);
        vcpu.SetRegs(general);
        view.Protect(BareGuest.Page, Gfn.PageSize, MemoryProtection.Read);
        long start = Stopwatch.GetTimestamp();
        for (int count = 0; count < events;)
        {
            int error = vcpu.Run();
            if (error == Errno.Interrupted)
                continue;
            if (error != Errno.Fault)
                throw new InvalidOperationException($"errno {error}, exit {vcpu.Page.ExitReason}");
            if (++count == 1)
                start = Stopwatch.GetTimestamp();
            view.Protect(BareGuest.Page, Gfn.PageSize, MemoryProtection.ReadWrite);
            vcpu.SetGuestDebug(KvmGuestDebug.SingleStep);
            do
                error = vcpu.Run();
            while (error == Errno.Interrupted);
            if (error != 0 || vcpu.Page.ExitReason != KvmExitReason.Debug)
                throw new InvalidOperationException($"errno {error}, exit {vcpu.Page.ExitReason}");
            vcpu.SetGuestDebug(0);
            view.Protect(BareGuest.Page, Gfn.PageSize, MemoryProtection.Read);
        }

        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    // Sound: the mapping is as long as the image.
    private static unsafe void Load(MemoryMapping mapping, byte[] image) => image.CopyTo(new Span<byte>((void*)mapping.Address, (int)mapping.Length));

    private sealed class Watcher(SoftwareVcpu vcpu, int events) : IPageTrackSubscriber
    {
        private int _count;

        public long Started { get; private set; }

        public PageTrackVerdict BeforeAccess(IVcpu asked, in PageTrackAccess access)
        {
            if (_count++ == 0)
                Started = Stopwatch.GetTimestamp();
            if (_count == events)
                vcpu.RequestStop();
            return PageTrackVerdict.Allow;
        }

        public void SlotCreated(MemorySlot slot)
        {
        }

        public void SlotFlushed(MemorySlot slot)
        {
        }
    }
}
