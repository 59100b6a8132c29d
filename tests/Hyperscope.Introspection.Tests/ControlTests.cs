namespace Hyperscope.Introspection.Tests;

/// <summary>The device manager's calls: kvmi-abi.md 4.1 to 4.3.</summary>
public sealed class ControlTests
{
    [Fact]
    public void Permissions_before_a_hook_are_refused_after_their_arguments_were_checked()
    {
        using var vm = new FakeVirtualMachine();
        using var introspector = new Introspector(vm);
        Assert.Equal(ControlError.NotHooked, introspector.SetCommandPermission(-1, 1));
        Assert.Equal(ControlError.NotHooked, introspector.SetEventPermission(-1, 1));
        Assert.Equal(ControlError.InvalidArgument, introspector.SetCommandPermission(-2, 1));
        Assert.Equal(ControlError.InvalidArgument, introspector.SetCommandPermission(26, 1));
        Assert.Equal(ControlError.InvalidArgument, introspector.SetCommandPermission(1, 2));
        Assert.Equal(ControlError.InvalidArgument, introspector.SetEventPermission(-2, 1));
        Assert.Equal(ControlError.InvalidArgument, introspector.SetEventPermission(11, 1));
        Assert.Equal(ControlError.InvalidArgument, introspector.SetEventPermission(1, 2));
        Assert.Equal(ControlError.NotHooked, introspector.PreUnhook());
        Assert.Equal(ControlError.None, introspector.Unhook());
    }

    [Fact]
    public void Switched_off_everything_is_refused()
    {
        using var vm = new FakeVirtualMachine();
        using var introspector = new Introspector(vm) { IsEnabled = false };
        (StreamSocket ours, StreamSocket tools) = StreamSocket.CreatePair();
        using (ours)
        using (tools)
        {
            Assert.Equal(ControlError.NotPermitted, introspector.Hook(ours));
            Assert.Equal(ControlError.NotPermitted, introspector.Unhook());
            Assert.Equal(ControlError.NotPermitted, introspector.PreUnhook());
            Assert.Equal(ControlError.NotPermitted, introspector.SetCommandPermission(-2, 9));
            Assert.Equal(ControlError.NotPermitted, introspector.SetEventPermission(-2, 9));
        }
    }

    [Fact]
    public void A_second_hook_is_refused_and_a_failed_one_leaves_no_trace()
    {
        using var bench = new Bench();
        (StreamSocket ours, StreamSocket tools) = StreamSocket.CreatePair();
        Assert.Equal(ControlError.AlreadyHooked, bench.Introspector.Hook(ours));
        Assert.Equal(ControlError.None, bench.Introspector.Unhook());
        tools.Dispose();
        ours.Dispose();
        Assert.Equal(ControlError.InvalidArgument, bench.Introspector.Hook(ours));
        Assert.Equal(ControlError.InvalidArgument, bench.Introspector.Hook(null!));
        bench.Hook();
        Assert.Equal(1u, bench.Tool.Call(default(GetVersion)).As<GetVersionReply>().Version);
    }

    [Fact]
    public void The_three_basic_commands_are_always_allowed()
    {
        using var bench = new Bench();
        foreach (MessageId id in new[] { MessageId.GetVersion, MessageId.VmCheckCommand, MessageId.VmCheckEvent })
            Assert.Equal(ControlError.NotPermitted, bench.Introspector.SetCommandPermission((int)id, 0));
        Assert.Equal(ControlError.None, bench.Introspector.SetCommandPermission(-1, 0));
        Assert.Equal(KvmError.None, bench.Tool.Error(default(GetVersion)));
        Assert.Equal(KvmError.None, bench.Tool.Error(new VmCheckCommand(MessageId.VmCheckEvent)));
        Assert.Equal(KvmError.None, bench.Tool.Error(new VmCheckEvent(EventId.Msr)));
        Assert.Equal(KvmError.NotPermitted, bench.Tool.Error(default(VmGetInfo)));
    }

    [Fact]
    public void A_fresh_hook_allows_three_commands_and_no_event()
    {
        using var bench = new Bench();
        bench.Introspector.Unhook();
        bench.Tool.Dispose();
        ToolPeer tool = bench.Hook(allow: false);
        foreach (CommandInfo command in CommandCatalog.All)
        {
            KvmError expected = command.IsMandatory ? KvmError.None : KvmError.NotPermitted;
            Assert.Equal(expected, tool.Error(new VmCheckCommand(command.Id)));
        }

        foreach (EventInfo one in EventCatalog.All)
            Assert.Equal(KvmError.NotPermitted, tool.Error(new VmCheckEvent(one.Id)));
    }

    [Fact]
    public void A_disallowed_command_is_refused_until_allowed_again()
    {
        using var bench = new Bench();
        bench.Introspector.SetCommandPermission((int)MessageId.VmGetInfo, 0);
        Assert.Equal(KvmError.NotPermitted, bench.Tool.Error(new VmCheckCommand(MessageId.VmGetInfo)));
        Assert.Equal(KvmError.NotPermitted, bench.Tool.Error(default(VmGetInfo)));
        bench.Introspector.SetCommandPermission((int)MessageId.VmGetInfo, 1);
        Assert.Equal(KvmError.None, bench.Tool.Error(default(VmGetInfo)));
    }

    [Fact]
    public void Preunhook_sends_an_event_without_state_if_the_tool_wants_it()
    {
        using var bench = new Bench();
        Assert.Equal(ControlError.NotFound, bench.Introspector.PreUnhook());
        Assert.Equal(KvmError.None, bench.Tool.Error(new VmControlEvents(EventId.Unhook, true)));
        Assert.Equal(ControlError.None, bench.Introspector.PreUnhook());
        Event unhook = bench.Tool.ReceiveEvent(EventId.Unhook);
        Assert.Equal(1u, unhook.Seq);
        Assert.Equal(default, unhook.Header.Vcpu);
        Assert.Equal((CpuMode)0, unhook.Header.Arch.Mode);
        Assert.Equal(default, unhook.Header.Arch.Regs);
        Assert.Equal(KvmError.None, bench.Tool.Error(new VmControlEvents(EventId.Unhook, false)));
        Assert.Equal(ControlError.NotFound, bench.Introspector.PreUnhook());
    }

    [Fact]
    public async Task Unhook_closes_the_connection_and_lifts_restrictions()
    {
        using var bench = new Bench();
        bench.Restrict(0x3000, PageAccess.None);
        Assert.Equal(1, bench.Vm.AccessMap.RestrictedFrames);
        bench.Introspector.Unhook();
        bench.Tool.AssertClosed();
        Assert.Equal(0, bench.Vm.AccessMap.RestrictedFrames);
        Assert.Null(bench.Introspector.Session);
        Assert.Equal("unhooked", (await bench.Disconnected.Soon()).CloseReason);
    }

    [Fact]
    public async Task A_tool_that_leaves_keeps_the_hook_until_the_manager_unhooks()
    {
        using var bench = new Bench();
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x3000, PageAccess.Read);
        bench.Tool.Dispose();
        await bench.Disconnected.Soon();
        Assert.Equal([PageTrackVerdict.Allow], await bench.Vcpu.Access(0x3000, PageAccess.Write).Soon());
        Assert.Equal(1, bench.Vm.AccessMap.RestrictedFrames);
        (StreamSocket ours, StreamSocket tools) = StreamSocket.CreatePair();
        using (ours)
        using (tools)
            Assert.Equal(ControlError.AlreadyHooked, bench.Introspector.Hook(ours));
        Assert.Equal(ControlError.NotFound, bench.Introspector.PreUnhook());
        bench.Introspector.Unhook();
        await bench.Vcpu.Execute(static _ => 0).Soon();
        bench.Hook();
        Assert.Equal(KvmError.None, bench.Tool.Error(default(VmGetInfo)));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Unhook_restores_interceptions_only_if_asked_to(bool cleanup)
    {
        using var bench = new Bench();
        await bench.Vcpu.Execute(vcpu => vcpu.Intercepts = VcpuIntercepts.Cpuid).Soon();
        bench.Enable(EventId.Breakpoint);
        bench.Enable(EventId.Descriptor);
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlMsr(Bench.V0, 0x140, true)));
        Assert.Equal(KvmError.None, bench.Tool.Error(new VcpuControlSinglestep(Bench.V0, true)));
        Assert.Equal(KvmError.None, bench.Tool.Error(new VmControlCleanup(cleanup)));
        bench.Introspector.Unhook();
        (VcpuIntercepts intercepts, int msrs, bool stepping) = await bench.Vcpu.Execute(
            vcpu => (vcpu.Intercepts, vcpu.InterceptedMsrs.Count, vcpu.IsSingleStepping)).Soon();
        VcpuIntercepts left = cleanup ? VcpuIntercepts.None : VcpuIntercepts.Breakpoint | VcpuIntercepts.Descriptor;
        Assert.Equal(VcpuIntercepts.Cpuid | left, intercepts);
        Assert.Equal(cleanup ? 0 : 1, msrs);
        Assert.False(stepping);

        // The leftovers are ours: the next session may own breakpoints again.
        bench.Hook();
        bench.Enable(EventId.Breakpoint);
    }

    [Fact]
    public async Task A_hook_waits_for_the_clean_up_of_each_vcpu()
    {
        using var bench = new Bench();
        bench.Enable(EventId.Descriptor);
        using var hold = new ManualResetEventSlim();
        var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Task<int> busy = bench.Vcpu.Execute(vcpu =>
        {
            started.SetResult();
            return hold.Wait(TimeSpan.FromSeconds(30)) ? 0 : 1;
        });
        await started.Task.Soon();
        bench.Introspector.Unhook();
        (StreamSocket ours, StreamSocket tools) = StreamSocket.CreatePair();
        using (ours)
        using (tools)
            Assert.Equal(ControlError.AlreadyHooked, bench.Introspector.Hook(ours));
        hold.Set();
        await busy.Soon();
        await bench.Vcpu.Execute(static _ => 0).Soon();
        bench.Hook();
    }
}
