using System.Runtime.InteropServices;

namespace Hyperscope.Introspection.Tests;

/// <summary>The commands of a vCPU: every row of kvmi-abi.md 2.3 and 2.5 that its own thread answers.</summary>
public sealed class VcpuCommandTests
{
    private static readonly VcpuIndex V0 = Bench.V0;
    private static readonly VcpuIndex V99 = new(99);

    [Fact]
    public void Every_vcpu_command_checks_block_padding_then_index_then_readiness()
    {
        using var bench = new Bench(vcpus: 2);
        bench.Vm[1].IsInitialized = false;
        foreach (CommandInfo info in CommandCatalog.All.ToArray().Where(static row => row.HasVcpu && row.Id != MessageId.VcpuPause))
        {
            byte[] payload = new byte[info.RequestSize];
            foreach (int offset in Enumerable.Range(2, 6))
            {
                byte[] dirty = [.. payload];
                dirty[0] = 99; // the padding is looked at first
                dirty[offset] = 1;
                Assert.Equal(KvmError.InvalidArgument, Raw(info.Id, dirty));
            }

            payload[0] = 2;
            Assert.Equal(KvmError.InvalidArgument, Raw(info.Id, payload));
            payload[0] = 1;
            Assert.Equal(KvmError.TryAgain, Raw(info.Id, payload));
        }

        KvmError Raw(MessageId id, byte[] payload)
        {
            bench.Tool.PostRaw((ushort)id, payload);
            return bench.Tool.ReceiveReply(id, bench.Tool.LastSeq).Error;
        }
    }

    [Fact]
    public void Info_is_the_tsc_frequency()
    {
        using var bench = new Bench();
        Assert.Equal(2_893_202_000ul, bench.Tool.Call(new VcpuGetInfo(V0)).As<VcpuGetInfoReply>().TscSpeed);
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Error(new VcpuGetInfo(V99)));
    }

    [Fact]
    public void Pause_checks_padding_then_permission_then_index()
    {
        using var bench = new Bench(start: false);
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VcpuPause(V99, false), 8, 2));
        foreach (int offset in Enumerable.Range(2, 6).Concat(Enumerable.Range(9, 7)))
            Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VcpuPause(V99, false), offset));
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Error(new VcpuPause(V99, false)));
        bench.Introspector.SetEventPermission((int)EventId.PauseVcpu, 0);
        Assert.Equal(KvmError.NotPermitted, bench.Tool.Error(new VcpuPause(V99, false)));
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VcpuPause(V99, false), 8, 2));
    }

    [Fact]
    public async Task One_thousand_and_two_pauses_fit_and_each_has_its_event()
    {
        using var bench = new Bench(start: false);
        bench.Vcpu.IsInitialized = false; // accepted all the same
        for (int i = 0; i < 1002; i++)
            Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuPause(V0, i % 2 == 0)));
        Assert.Equal(KvmError.Busy, bench.Tool.Error(new VcpuPause(V0, false)));
        bench.Vm.Start();
        for (uint i = 1; i <= 1002; i++)
        {
            Event pause = bench.Tool.ReceiveEvent(EventId.PauseVcpu);
            Assert.Equal(i, pause.Seq);
            bench.Tool.Answer(pause, EventAction.Continue);
        }

        await bench.Vcpu.Execute(static _ => 0).Soon();
        Assert.Equal(KvmError.None, bench.Tool.Error(default(GetVersion)));
    }

    [Fact]
    public async Task Pause_with_wait_answers_after_the_guest_was_left()
    {
        using var bench = new Bench();
        var spinning = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        bool hasLeft = false;
        Task<int> spin = bench.Vcpu.Execute(vcpu =>
        {
            vcpu.SpinUntilKicked(spinning.SetResult, () => Volatile.Write(ref hasLeft, true));
            return 0;
        });
        await spinning.Task.Soon();
        bench.Tool.Post(new VcpuPause(V0, true));
        uint seq = bench.Tool.LastSeq;

        // The reply and the event come from different threads, in either order.
        (MessageHeader first, byte[] payload) = bench.Tool.Receive();
        Assert.True(Volatile.Read(ref hasLeft));
        (MessageHeader second, byte[] otherPayload) = bench.Tool.Receive();
        bool replyFirst = first.MessageId == MessageId.VcpuPause;
        Assert.Equal(seq, replyFirst ? first.Seq : second.Seq);
        bench.Tool.Answer(ToolPeer.AsEvent(replyFirst ? second : first, replyFirst ? otherPayload : payload), EventAction.Continue);
        await spin.Soon();
    }

    [Fact]
    public void Control_events_checks_in_order()
    {
        using var bench = new Bench();
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VcpuControlEvents(V0, EventId.Msr, true), 10, 2));
        foreach (int offset in Enumerable.Range(11, 5))
            Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VcpuControlEvents(V0, EventId.Msr, true), offset));
        foreach (EventId id in new[] { EventId.Unhook, (EventId)11, (EventId)0x0109, (EventId)0xFFFF })
            Assert.Equal(KvmError.InvalidArgument, bench.Tool.Error(new VcpuControlEvents(V0, id, true)));
        for (var id = EventId.PauseVcpu; id <= EventId.Singlestep; id++)
        {
            Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlEvents(V0, id, true)));
            Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlEvents(V0, id, false)));
        }

        bench.Introspector.SetEventPermission((int)EventId.Msr, 0);
        Assert.Equal(KvmError.NotPermitted, bench.Tool.Error(new VcpuControlEvents(V0, EventId.Msr, true)));
        Assert.Equal(KvmError.NotPermitted, bench.Tool.Error(new VcpuControlEvents(V0, EventId.Msr, false)));
    }

    [Fact]
    public async Task Breakpoints_have_one_owner()
    {
        using var bench = new Bench();
        Assert.Equal(KvmError.Busy, bench.Tool.Error(new VcpuControlEvents(V0, EventId.Breakpoint, false)));
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlEvents(V0, EventId.Breakpoint, true)));
        Assert.Equal(KvmError.Busy, bench.Tool.Error(new VcpuControlEvents(V0, EventId.Breakpoint, true)));
        Assert.Equal(VcpuIntercepts.Breakpoint, await bench.Vcpu.Execute(static vcpu => vcpu.Intercepts).Soon());
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlEvents(V0, EventId.Breakpoint, false)));
        await bench.Vcpu.Execute(static vcpu => vcpu.Intercepts = VcpuIntercepts.Breakpoint).Soon();
        Assert.Equal(KvmError.Busy, bench.Tool.Error(new VcpuControlEvents(V0, EventId.Breakpoint, true)));
    }

    [Fact]
    public async Task What_the_back_end_cannot_report_is_refused()
    {
        using var bench = new Bench(capabilities: VmCapabilities.None);
        Assert.Equal(KvmError.NotSupported, bench.Tool.Error(new VcpuControlEvents(V0, EventId.Descriptor, true)));
        Assert.Equal(KvmError.NotSupported, bench.Tool.Error(new VcpuControlEvents(V0, EventId.Xsetbv, true)));
        Assert.Equal(KvmError.NotSupported, bench.Tool.Error(new VcpuControlEvents(V0, EventId.Cr, true)));
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlEvents(V0, EventId.Cr, false)));
        Assert.Equal(KvmError.NotSupported, bench.Tool.Error(new VcpuControlCr(V0, 3, true)));
        Assert.Equal(KvmError.NotSupported, bench.Tool.Error(new VmCreateView()));
        Assert.Equal(KvmError.NotSupported, bench.Tool.Error(new VcpuSwitchView(V0, 0)));
        Assert.Equal(KvmError.NotSupported, bench.Tool.Error(new VcpuControlSinglestep(V0, true)));
        Assert.False((await bench.Vcpu.Execute(static vcpu => vcpu.Intercepts).Soon()).HasFlag(VcpuIntercepts.Descriptor));
    }

    [Fact]
    public async Task Registers_come_with_the_msrs_asked_for()
    {
        using var bench = new Bench();
        await bench.Vcpu.Execute(static vcpu =>
        {
            vcpu.Registers.Rip = 0x1234;
            vcpu.Sregs.Cr3 = 0x5000;
            vcpu.Mode = CpuMode.Bits32;
            return 0;
        }).Soon();
        uint[] indexes = [MsrIndex.Lstar, 0x140, MsrIndex.Lstar];
        Reply reply = bench.Tool.Call(new VcpuGetRegisters(V0, 3), MemoryMarshal.AsBytes(indexes.AsSpan()));
        Assert.Equal(472 + 48, reply.Data.Length);
        var registers = reply.As<VcpuGetRegistersReply>();
        Assert.True(registers.IsWellFormed);
        Assert.Equal((CpuMode.Bits32, 0x1234ul, 0x5000ul, 3u), (registers.Mode, registers.Regs.Rip, registers.Sregs.Cr3, registers.MsrCount));
        KvmMsrEntry[] entries = MemoryMarshal.Cast<byte, KvmMsrEntry>(reply.Data.AsSpan(472)).ToArray();
        Assert.Equal(indexes, entries.Select(static entry => entry.Index));
        Assert.All(entries, static entry => Assert.Equal((0u, 0x1000UL + entry.Index), (entry.Reserved, entry.Data)));
        Assert.Equal(472, bench.Tool.Call(new VcpuGetRegisters(V0)).Data.Length);
    }

    [Fact]
    public void Registers_are_refused_for_padding_too_many_or_unknown_msrs()
    {
        using var bench = new Bench();
        foreach (int offset in Enumerable.Range(10, 6))
            Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VcpuGetRegisters(V0), offset));
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Error(new VcpuGetRegisters(V0, 1), [0xFF, 0xFF, 0xFF, 0xFF]));
        uint[] many = [.. Enumerable.Repeat(MsrIndex.Lstar, 2040)];
        Assert.Equal(472 + (481 * 16), bench.Tool.Call(new VcpuGetRegisters(V0, 481), MemoryMarshal.AsBytes(many.AsSpan(0, 481))).Data.Length);
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Error(new VcpuGetRegisters(V0, 482), MemoryMarshal.AsBytes(many.AsSpan(0, 482))));
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Error(new VcpuGetRegisters(V0, 2040), MemoryMarshal.AsBytes(many.AsSpan())));
    }

    [Fact]
    public void Registers_cannot_be_set_outside_an_event()
    {
        using var bench = new Bench();
        Assert.Equal(KvmError.NotSupported, bench.Tool.Error(new VcpuSetRegisters(V0, default)));
    }

    [Fact]
    public void Cpuid_is_what_the_vcpu_has()
    {
        using var bench = new Bench();
        Assert.Equal(new CpuidResult(0xD, 1, 2, 3), bench.Tool.Call(new VcpuGetCpuid(V0, 0, 0)).As<CpuidResult>());
        Assert.Equal(KvmError.NotFound, bench.Tool.Error(new VcpuGetCpuid(V0, 0x40000000, 0)));
    }

    [Fact]
    public async Task Control_cr_takes_0_3_and_4()
    {
        using var bench = new Bench();
        bench.Enable(EventId.Cr);
        for (int register = 0; register < 256; register++)
        {
            KvmError expected = register is 0 or 3 or 4 ? KvmError.None : KvmError.InvalidArgument;
            Assert.Equal(expected, bench.Tool.Error(new VcpuControlCr(V0, (byte)register, true)));
        }

        Assert.Equal(
            VcpuIntercepts.Cr0 | VcpuIntercepts.Cr3 | VcpuIntercepts.Cr4, await bench.Vcpu.Execute(static vcpu => vcpu.Intercepts).Soon());
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlCr(V0, 3, false)));
        Assert.Equal(VcpuIntercepts.Cr0 | VcpuIntercepts.Cr4, await bench.Vcpu.Execute(static vcpu => vcpu.Intercepts).Soon());
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VcpuControlCr(V0, 99, true), 9, 2));
        foreach (int offset in Enumerable.Range(10, 6))
            Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VcpuControlCr(V0, 3, true), offset));
    }

    [Theory]
    [InlineData(0u, KvmError.None)]
    [InlineData(0x1FFFu, KvmError.None)]
    [InlineData(0x2000u, KvmError.InvalidArgument)]
    [InlineData(0xBFFFFFFFu, KvmError.InvalidArgument)]
    [InlineData(0xC0000000u, KvmError.None)]
    [InlineData(0xC0001FFFu, KvmError.None)]
    [InlineData(0xC0002000u, KvmError.InvalidArgument)]
    [InlineData(0xFFFFFFFFu, KvmError.InvalidArgument)]
    public async Task Control_msr_takes_two_ranges(uint msr, KvmError expected)
    {
        using var bench = new Bench();
        Assert.Equal(expected, bench.Tool.Error(new VcpuControlMsr(V0, msr, false))); // off without on is fine
        Assert.Equal(expected, bench.Tool.Error(new VcpuControlMsr(V0, msr, true)));
        Assert.Equal(expected == KvmError.None, await bench.Vcpu.Execute(vcpu => vcpu.InterceptedMsrs.Contains(msr)).Soon());
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VcpuControlMsr(V0, msr, true), 8, 2));
        foreach (int offset in Enumerable.Range(9, 3))
            Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VcpuControlMsr(V0, msr, true), offset));
        Assert.Equal(expected, bench.Tool.Error(new VcpuControlMsr(V0, msr, false)));
        Assert.False(await bench.Vcpu.Execute(vcpu => vcpu.InterceptedMsrs.Contains(msr)).Soon());
    }

    [Fact]
    public void Xcr0_is_the_only_xcr()
    {
        using var bench = new Bench();
        Assert.Equal(7ul, bench.Tool.Call(new VcpuGetXcr(V0)).As<VcpuGetXcrReply>().Value);
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Error(new VcpuGetXcr(V0, 1)));
        foreach (int offset in Enumerable.Range(9, 7))
            Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VcpuGetXcr(V0), offset));
    }

    [Fact]
    public void Xsave_goes_both_ways_and_a_short_image_ends_in_zeros()
    {
        using var bench = new Bench();
        byte[] image = new byte[4096];
        new Random(3).NextBytes(image);
        image[512] = 7;
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuSetXsave(V0), image));
        Assert.Equal(image, bench.Tool.Call(new VcpuGetXsave(V0)).Data);
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuSetXsave(V0), image.AsSpan(0, 100)));
        Assert.Equal([.. image[..100], .. new byte[3996]], bench.Tool.Call(new VcpuGetXsave(V0)).Data);
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Error(new VcpuSetXsave(V0), new byte[4097]));
        image[512] = 8;
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Error(new VcpuSetXsave(V0), image));
    }

    [Fact]
    public void Memory_types_come_from_the_vcpu()
    {
        using var bench = new Bench();
        Assert.Equal(MemoryType.WriteBack, bench.Tool.Call(new VcpuGetMtrrType(V0, new Gpa(0))).As<VcpuGetMtrrTypeReply>().Type);
        Assert.Equal(
            MemoryType.Uncacheable, bench.Tool.Call(new VcpuGetMtrrType(V0, new Gpa(0xB8000))).As<VcpuGetMtrrTypeReply>().Type);
    }

    [Fact]
    public void An_address_without_translation_is_all_ones()
    {
        using var bench = new Bench();
        bench.Vcpu.PageTable[0x7FFF0] = 0x42;
        Assert.Equal(new Gpa(0x42123), bench.Tool.Call(new VcpuTranslateGva(V0, new Gva(0x7FFF0123))).As<VcpuTranslateGvaReply>().Gpa);
        Assert.Equal(
            Enumerable.Repeat((byte)0xFF, 8), bench.Tool.Call(new VcpuTranslateGva(V0, new Gva(ulong.MaxValue))).Data);
    }

    [Fact]
    public async Task Single_step_checks_arguments_then_permission()
    {
        using var bench = new Bench();
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlSinglestep(V0, false))); // never on
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlSinglestep(V0, true)));
        Assert.True(await bench.Vcpu.Execute(static vcpu => vcpu.IsSingleStepping).Soon());
        bench.Introspector.SetEventPermission((int)EventId.Singlestep, 0);
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VcpuControlSinglestep(V0, true), 8, 2));
        foreach (int offset in Enumerable.Range(9, 7))
            Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VcpuControlSinglestep(V0, true), offset));
        Assert.Equal(KvmError.NotPermitted, bench.Tool.Error(new VcpuControlSinglestep(V0, false)));
    }

    [Fact]
    public void Injection_checks_permission_then_padding_then_whether_one_is_under_way()
    {
        using var bench = new Bench(start: false);
        bench.Introspector.SetEventPermission((int)EventId.Trap, 0);
        bench.Vm.Start();
        foreach (int offset in Enumerable.Range(9, 3))
            Assert.Equal(KvmError.NotPermitted, bench.Tool.Dirty(new VcpuInjectException(V0, 6), offset));
        bench.Introspector.SetEventPermission((int)EventId.Trap, 1);
        foreach (int offset in Enumerable.Range(9, 3))
            Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VcpuInjectException(V0, 6), offset));
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlSinglestep(V0, true))); // holds the injection back
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuInjectException(V0, 6)));
        Assert.Equal(KvmError.Busy, bench.Tool.Error(new VcpuInjectException(V0, 6)));
    }

    [Fact]
    public async Task Commands_to_one_vcpu_are_answered_in_order()
    {
        using var bench = new Bench(start: false);
        uint first = bench.Tool.LastSeq + 1;
        for (int i = 0; i < 200; i++)
            bench.Tool.Post(new VcpuGetInfo(V0));
        bench.Tool.Post(default(GetVersion));
        Assert.Equal(KvmError.None, bench.Tool.ReceiveReply(MessageId.GetVersion, first + 200).Error); // the vCPU does not run yet
        bench.Vm.Start();
        for (uint i = 0; i < 200; i++)
            bench.Tool.ReceiveReply(MessageId.VcpuGetInfo, first + i);
        await bench.Vcpu.Execute(static _ => 0).Soon();
    }
}
