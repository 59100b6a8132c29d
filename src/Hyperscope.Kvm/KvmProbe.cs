using Hyperscope.LinuxHost;
using Hyperscope.Vm;

namespace Hyperscope.Kvm;

/// <summary>Finds out whether this machine's KVM can carry the back end, by running a small guest on it.</summary>
/// <remarks>A KVM without hardware virtualization below it (kvm_pvm) gives supervisor code to its instruction emulator, which has no SSE
/// arithmetic, no x87 memory operands and no CMPXCHG16B: such a host is found out by a guest that uses them.</remarks>
public static class KvmProbe
{
    private const ulong Code = FlatLongMode.End, Data = 0x5000, Bytes = 0x8000;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    // addps xmm0, xmm0; fld qword [0x5000]; fstp qword [0x5000]; lock cmpxchg16b [0x5000]; hlt; mov al, [0x5008]; hlt
    private static ReadOnlySpan<byte> Program =>
    [
        0x0F, 0x58, 0xC0,
        0xDD, 0x04, 0x25, 0x00, 0x50, 0x00, 0x00,
        0xDD, 0x1C, 0x25, 0x00, 0x50, 0x00, 0x00,
        0xF0, 0x48, 0x0F, 0xC7, 0x0C, 0x25, 0x00, 0x50, 0x00, 0x00,
        0xF4,
        LoadOpcode, 0x04, 0x25, 0x08, 0x50, 0x00, 0x00,
        0xF4,
    ];

    private const byte LoadOpcode = 0x8A;

    /// <summary>Why guests cannot run on this machine's KVM, in one line for people; null: they can.</summary>
    public static string? FindObstacle()
    {
        try
        {
            using var device = new KvmDevice();
            KvmHost.Require(device);
            return RunGuest(device);
        }
        catch (LinuxException refused)
        {
            return refused.Errno switch
            {
                Errno.NoEntry => $"this machine has no {KvmDevice.DefaultPath}",
                Errno.AccessDenied or 1 => $"{KvmDevice.DefaultPath} is not for this user (its group is usually kvm)",
                _ => refused.Message,
            };
        }
        catch (NotSupportedException lacking)
        {
            return lacking.Message;
        }
    }

    /// <summary>Whether INT3 stops a guest when asked for. Not everywhere: emulators of SVM have been seen that never do.</summary>
    internal static bool HasBreakpointExits(KvmDevice device)
    {
        bool stopped = false;
        RunGuest(device, [0xCC, 0xF4], (vcpu, _) =>
        {
            vcpu.SetGuestDebug(KvmGuestDebug.SoftwareBreakpoints);
            stopped = vcpu.Run() == 0 && vcpu.Page.ExitReason == KvmExitReason.Debug;
        });
        return stopped;
    }

    private static string? RunGuest(KvmDevice device)
    {
        string? obstacle = null;
        return RunGuest(device, Program, (vcpu, view) => obstacle = Observe(vcpu, view))
            ? obstacle
            : $"a probe guest of ten instructions did not end within {Patience.TotalSeconds} s on this machine's KVM";
    }

    /// <summary>Runs code at CPL 0 in 64-bit mode without any descriptor table; false: it did not end in time and was ended.</summary>
    private static bool RunGuest(KvmDevice device, ReadOnlySpan<byte> program, Action<KvmVcpu, MemoryMapping> observe)
    {
        using KvmVm vm = device.CreateVm();
        using var memory = new SharedMemory("hyperscope-probe", Bytes);
        using MemoryMapping mapping = memory.Map(0, Bytes), view = memory.Map(0, Bytes);
        Fill(mapping, program);
        vm.SetIdentityMapAddress(0xFFFB_C000);
        vm.SetTssAddress(0xFFFB_D000);
        if (device[KvmCapability.ExitOnEmulationFailure] != 0)
            vm.Enable(KvmCapability.ExitOnEmulationFailure, 1);
        vm.SetMemory(0, new Gpa(0), Bytes, view.Address, isReadOnly: false);
        using KvmVcpu vcpu = vm.CreateVcpu(new VcpuIndex(0));
        vcpu.SetCpuid(device.GetSupportedCpuid());
        SetRegisters(vcpu);
        int threadId = 0;
        using var prepared = new ManualResetEventSlim();
        var thread = new Thread(() =>
        {
            Volatile.Write(ref threadId, ThreadSignal.Prepare());
            prepared.Set();
            observe(vcpu, view);
        })
        {
            IsBackground = true,
            Name = "kvm probe",
        };
        thread.Start();
        prepared.Wait();
        if (thread.Join(Patience))
            return true;
        do
        {
            vcpu.Page.ImmediateExit = 1;
            ThreadSignal.Send(threadId);
        }
        while (!thread.Join(TimeSpan.FromMilliseconds(50)));
        return false;
    }

    private static string? Observe(KvmVcpu vcpu, MemoryMapping view)
    {
        ref KvmRun page = ref vcpu.Page;
        page.ValidRegs = KvmRun.SyncRegs;
        int error = vcpu.Run();
        if (error != 0 || page.ExitReason != KvmExitReason.Halt)
        {
            string how = error != 0 ? $"KVM_RUN fails with errno {error}" : $"exit {(uint)page.ExitReason}";
            return $"this machine's KVM does not run supervisor code on hardware (a probe guest got no further than rip 0x{page.Regs.Rip:x}: {how})";
        }

        ulong before = page.Regs.Rip;
        view.Protect(Data, Gfn.PageSize, MemoryProtection.None);
        error = vcpu.Run();
        if (error != Errno.Fault || page.Regs.Rip != before)
        {
            string how = error != 0 ? $"errno {error}" : $"exit {(uint)page.ExitReason}";
            return $"this machine's KVM does not stop in front of an access to protected memory ({how}, rip 0x{page.Regs.Rip:x} after 0x{before:x})";
        }

        return null;
    }

    // Sound: the mapping is as long as what is written, and lives until after the guest.
    private static unsafe void Fill(MemoryMapping mapping, ReadOnlySpan<byte> program)
    {
        var bytes = new Span<byte>((void*)mapping.Address, (int)Bytes);
        FlatLongMode.WriteTables(bytes);
        program.CopyTo(bytes[(int)Code..]);
    }

    private static void SetRegisters(KvmVcpu vcpu)
    {
        vcpu.GetSregs(out KvmSregs sregs);
        FlatLongMode.Enter(ref sregs);
        vcpu.SetSregs(sregs);
        vcpu.SetRegs(new KvmRegs { Rip = Code, Rsp = Bytes, Rflags = 2 });
    }
}
