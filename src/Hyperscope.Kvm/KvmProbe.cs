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

    // mov al, 0x5A; mov [0x5000], al; hlt; mov [0x5000], al; mov bl, [0x6000]; mov [0x6000], al; mov bl, [0x6000]; hlt
    private static ReadOnlySpan<byte> Writer =>
    [
        0xB0, Written,
        0x88, 0x04, 0x25, 0x00, 0x50, 0x00, 0x00,
        0xF4,
        0x88, 0x04, 0x25, 0x00, 0x50, 0x00, 0x00,
        LoadOpcode, 0x1C, 0x25, 0x00, 0x60, 0x00, 0x00,
        0x88, 0x04, 0x25, 0x00, 0x60, 0x00, 0x00,
        LoadOpcode, 0x1C, 0x25, 0x00, 0x60, 0x00, 0x00,
        0xF4,
    ];

    private const byte Written = 0x5A;
    private const ulong SecondWrite = Code + 10, ThirdWrite = Code + 24, End = Code + 39;

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
                Errno.AccessDenied or Errno.NotPermitted => $"{KvmDevice.DefaultPath} is not for this user (its group is usually kvm)",
                _ => refused.Message,
            };
        }
        catch (NotSupportedException lacking)
        {
            return lacking.Message;
        }
    }

    /// <summary>Why the guest's view cannot be write-protected with userfaultfd, in one line for people; null: it can.</summary>
    public static string? FindUserfaultObstacle()
    {
        try
        {
            using var device = new KvmDevice();
            return FindUserfaultObstacle(device);
        }
        catch (Exception refused) when (refused is LinuxException or NotSupportedException)
        {
            return refused.Message;
        }
    }

    internal static string? FindUserfaultObstacle(KvmDevice device)
    {
        try
        {
            using var writes = new UserFaultFd();
            string? obstacle = null;
            return RunGuest(device, Writer, (vcpu, view) => obstacle = ObserveWrites(vcpu, view, writes))
                ? obstacle
                : $"a probe guest that writes to a page write-protected with userfaultfd did not stop within {Patience.TotalSeconds} s";
        }
        catch (LinuxException refused)
        {
            return refused.Errno switch
            {
                Errno.NoSystemCall => "this kernel has no userfaultfd, or a filter of system calls hides it",
                Errno.NotPermitted or Errno.AccessDenied => "userfaultfd is not for this process: a filter of system calls or a security policy forbids it",
                Errno.Invalid => "this kernel's userfaultfd cannot write-protect shared memory; Linux 5.19 and later can",
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

    private static string? ObserveWrites(KvmVcpu vcpu, MemoryMapping view, UserFaultFd writes)
    {
        ref KvmRun page = ref vcpu.Page;
        page.ValidRegs = KvmRun.SyncRegs;
        try
        {
            int error = vcpu.Run();
            if (error != 0 || page.ExitReason != KvmExitReason.Halt || page.Regs.Rip != SecondWrite)
                return Describe("a write to memory that is not protected does not go through", error, ref page);
            if (!writes.TryRegister(view))
                return "this kernel's userfaultfd cannot write-protect shared memory; Linux 5.19 and later can";

            // One page that the guest has and one that nobody has. Kernels before 6.2 may lose the protection when mprotect has had its turn.
            writes.Protect(view, Data, 2 * Gfn.PageSize, isDenied: true);
            view.Protect(Data, 2 * Gfn.PageSize, MemoryProtection.None);
            view.Protect(Data, 2 * Gfn.PageSize, MemoryProtection.ReadWrite);
            error = vcpu.Run();
            if (error != Errno.Fault || page.Regs.Rip != SecondWrite)
                return Describe("KVM does not stop in front of a write to a page write-protected with userfaultfd", error, ref page);
            writes.Protect(view, Data, Gfn.PageSize, isDenied: false);
            error = vcpu.Run();
            if (error != Errno.Fault || page.Regs.Rip != ThirdWrite)
                return Describe("KVM does not read, or does not stop in front of a write to, a new page write-protected with userfaultfd", error, ref page);
            writes.Protect(view, Data + Gfn.PageSize, Gfn.PageSize, isDenied: false);
            error = vcpu.Run();
            return error != 0 || page.Regs.Rip != End || (byte)page.Regs.Rbx != Written
                ? Describe("KVM does not write to a page that userfaultfd no longer protects", error, ref page)
                : null;
        }
        catch (LinuxException refused)
        {
            return refused.Message;
        }
    }

    private static string Describe(string what, int error, ref KvmRun page)
    {
        string how = error != 0 ? $"errno {error}" : $"exit {(uint)page.ExitReason}";
        return $"{what} ({how}, rip 0x{page.Regs.Rip:x})";
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
