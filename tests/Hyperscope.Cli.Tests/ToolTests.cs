using Hyperscope.TestKit;

namespace Hyperscope.Cli.Tests;

/// <summary>The tool commands against a scripted VM, over a real socket.</summary>
public sealed class ToolTests : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("hs-");
    private readonly SocketListener _listener;

    public ToolTests() => _listener = SocketListener.Listen(Endpoint.Unix(Path.Combine(_directory.FullName, "s")));

    private string Kvmi => $"--kvmi {_listener.Endpoint}";

    public void Dispose()
    {
        _listener.Dispose();
        _directory.Delete(recursive: true);
    }

    [Fact]
    public async Task Memory_is_shown_in_hex()
    {
        (CliResult result, _) = await RunAsync($"mem read 0x1ff8 40 {Kvmi}", static vm =>
        {
            vm.Reply(vm.Expect(MessageId.VmReadPhysical), "ABCDEFGH"u8);
            vm.Reply(vm.Expect(MessageId.VmReadPhysical), new byte[32]);
        });
        Assert.Equal(
            """
            0000000000001ff8 4142 4344 4546 4748 0000 0000 0000 0000  ABCDEFGH........
            0000000000002008 0000 0000 0000 0000 0000 0000 0000 0000  ................
            0000000000002018 0000 0000 0000 0000                      ........

            """,
            result.Output);
        Assert.Equal((0, ""), (result.ExitCode, result.Error));
    }

    [Fact]
    public async Task Memory_is_json_for_programs()
    {
        (CliResult result, _) = await RunAsync($"mem read 4096 2 --json {Kvmi}", static vm =>
            vm.Reply(vm.Expect(MessageId.VmReadPhysical), [0xAB, 0xCD]));
        Assert.Equal("""{"address":"0x1000","length":2,"hex":"abcd"}""" + "\n", result.Output);
    }

    [Fact]
    public async Task Virtual_memory_goes_through_the_vcpus_translation()
    {
        (CliResult result, _) = await RunAsync($"mem read 0xffffffff81000000 2 --virtual --vcpu 1 --json {Kvmi}", static vm =>
        {
            ReceivedMessage translate = vm.Expect(MessageId.VcpuTranslateGva);
            Assert.Equal(1, translate.As<VcpuTranslateGva>().Vcpu.Index.Value);
            vm.Reply(translate, new VcpuTranslateGvaReply(new Gpa(0x3000)));
            ReceivedMessage read = vm.Expect(MessageId.VmReadPhysical);
            Assert.Equal(new Gpa(0x3000), read.As<VmReadPhysical>().Gpa);
            vm.Reply(read, [1, 2]);
        });
        Assert.Contains("\"0102\"", result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_dump_is_the_bytes_themselves()
    {
        (CliResult result, _) = await RunAsync($"mem dump 0 3 {Kvmi}", static vm =>
            vm.Reply(vm.Expect(MessageId.VmReadPhysical), [0, 255, 7]));
        Assert.Equal([0, 255, 7], result.Binary);
        Assert.Empty(result.Output);
    }

    [Fact]
    public async Task A_guest_that_is_no_linux_is_named()
    {
        (CliResult result, _) = await RunAsync($"linux ps {Kvmi}", static vm =>
        {
            vm.Refuse(vm.Expect(MessageId.VcpuGetRegisters), KvmError.TryAgain);
            vm.Refuse(vm.Expect(MessageId.VcpuGetRegisters), KvmError.TryAgain);
        });
        Assert.Equal(
            (1, "hyperscope: none of 0 vCPUs runs in long mode: no 64-bit Linux has been started yet\n"), (result.ExitCode, result.Error));
    }

    [Fact]
    public async Task Bytes_are_written()
    {
        (CliResult result, _) = await RunAsync($"mem write 0x1000 90c3 {Kvmi}", static vm =>
        {
            ReceivedMessage write = vm.Expect(MessageId.VmWritePhysical);
            Assert.Equal("90C3", Convert.ToHexString(write.Payload.AsSpan(16)));
            vm.Reply(write);
        });
        Assert.Equal((0, "", "2 bytes written at 0x1000\n"), (result.ExitCode, result.Output, result.Error));
    }

    [Fact]
    public async Task A_refusal_is_exit_code_3_in_the_vms_words()
    {
        (CliResult result, _) = await RunAsync($"mem read 0x5000 16 {Kvmi}", static vm =>
            vm.Refuse(vm.Expect(MessageId.VmReadPhysical), KvmError.NotPermitted));
        Assert.Equal(ExitCode.Refused, result.ExitCode);
        Assert.Equal(
            "hyperscope: VmReadPhysical (16 bytes at gpa 0x5000) was refused: EPERM, the owner of the VM does not allow it\n",
            result.Error);
    }

    [Fact]
    public async Task A_lost_vm_is_a_failure()
    {
        (CliResult result, _) = await RunAsync(
            $"mem read 0 16 {Kvmi}",
            static vm =>
            {
                vm.Expect(MessageId.VmReadPhysical);
                vm.Socket.Shutdown();
            },
            leaves: false);
        Assert.Equal(ExitCode.Failed, result.ExitCode);
        Assert.Contains(
            "VmReadPhysical (16 bytes at gpa 0x0) has no reply: the connection has ended", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_vcpu_that_is_not_there_is_bad_usage()
    {
        (CliResult result, _) = await RunAsync($"vcpu regs 2 {Kvmi}", static _ => { });
        Assert.Equal(ExitCode.BadUsage, result.ExitCode);
        Assert.Contains("there is no vCPU 2; this VM has 0 to 1", result.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Registers_are_shown_within_80_columns_or_as_json(bool json)
    {
        (CliResult result, _) = await RunAsync($"vcpu regs 1 --msr 0xc0000082 {Kvmi}{(json ? " --json" : "")}", static vm =>
        {
            byte[] data = new byte[472 + 16];
            var reply = new VcpuGetRegistersReply { Mode = CpuMode.Bits64, MsrCount = 1 };
            reply.Regs.Rip = 0xFFFFFFFF81000000;
            reply.Regs.R15 = ulong.MaxValue;
            reply.Sregs.Cr3 = 0x123000;
            System.Runtime.InteropServices.MemoryMarshal.Write(data, reply);
            System.Runtime.InteropServices.MemoryMarshal.Write(data.AsSpan(472), new KvmMsrEntry { Index = 0xC0000082, Data = 0x77 });
            vm.Reply(vm.Expect(MessageId.VcpuGetRegisters), data);
        });
        Assert.Equal(0, result.ExitCode);
        Assert.Contains("0xffffffff81000000", result.Output, StringComparison.Ordinal);
        Assert.Contains("0x123000", result.Output, StringComparison.Ordinal);
        Assert.Contains(json ? "\"0xc0000082\":\"0x77\"" : "msr 0xc0000082", result.Output, StringComparison.Ordinal);
        Assert.DoesNotContain(result.Output.Split('\n'), line => !json && line.Length > 80);
        Assert.DoesNotContain('\e', result.Output);
    }

    [Fact]
    public async Task Events_are_printed_answered_and_left_after_the_count()
    {
        (CliResult result, _) = await RunAsync($"events watch --kind cr,pf --cr 4 --page 0x1000+2=r-x --count 2 --json {Kvmi}", static vm =>
        {
            foreach (EventId id in new[] { EventId.Cr, EventId.Cr, EventId.PageFault, EventId.PageFault })
            {
                ReceivedMessage enable = vm.Expect(MessageId.VcpuControlEvents);
                Assert.Equal(id, enable.As<VcpuControlEvents>().EventId);
                vm.Reply(enable);
            }

            vm.Reply(vm.Expect(MessageId.VcpuControlCr));
            vm.Reply(vm.Expect(MessageId.VcpuControlCr));
            vm.Reply(vm.Expect(MessageId.VmSetPageAccess));
            vm.SendEvent(new PageFaultEvent(Gva.Unknown, new Gpa(0x1234), PageAccess.Write), vcpu: 1, rip: 0x400);
            Assert.Equal(EventAction.Continue, vm.ExpectAnswer().Action);
            vm.SendEvent(new CrEvent(4, 0x20, 0x40020), vcpu: 0, rip: 0x500);
            Assert.Equal(0x40020ul, BitConverter.ToUInt64(vm.ExpectAnswer().Data));
        });
        Assert.Equal(
            """
            {"seq":1,"kind":"pf","vcpu":1,"rip":"0x400","gpa":"0x1234","access":"-w-","answer":"continue"}
            {"seq":2,"kind":"cr","vcpu":0,"rip":"0x500","old":"0x20","new":"0x40020","number":4,"answer":"continue"}

            """,
            result.Output);
        Assert.Equal(0, result.ExitCode);
    }

    [Fact]
    public async Task Pages_are_held_listed_and_lifted_at_ctrl_c()
    {
        using var interrupt = new CancellationTokenSource();
        (CliResult result, CliResult? list) = await RunAsync(
            $"page-access set 0x1000=r-x 0x3000=--- {Kvmi}",
            vm =>
            {
                vm.Reply(vm.Expect(MessageId.VcpuControlEvents));
                vm.Reply(vm.Expect(MessageId.VcpuControlEvents));
                vm.Reply(vm.Expect(MessageId.VmSetPageAccess));
                vm.Reply(vm.Expect(MessageId.VmSetPageAccess));
                vm.SendEvent(new PageFaultEvent(new Gva(0x7000), new Gpa(0x3008), PageAccess.Read), rip: 0x10);
                vm.ExpectAnswer();
            },
            whileRunning: async () =>
            {
                CliResult held = await RunCli.RunAsync($"page-access list {Kvmi}");
                await interrupt.CancelAsync();
                return held;
            },
            interrupt: interrupt.Token,
            lifted: 2);

        Assert.Equal(ExitCode.Done, result.ExitCode);
        Assert.Equal("     1 vcpu 0 pf         rip 0x10 r-- gpa 0x3008 gva 0x7000\n", result.Output);
        Assert.Contains("rights of 2 page(s) set; Ctrl-C lifts them", result.Error, StringComparison.Ordinal);
        Assert.Contains("0x1000", list!.Output, StringComparison.Ordinal);
        Assert.Contains("---", list.Output, StringComparison.Ordinal);
        CliResult after = await RunCli.RunAsync($"page-access list --json {Kvmi}");
        Assert.Equal($$"""{"endpoint":"{{_listener.Endpoint}}","processId":0,"pages":[]}""" + "\n", after.Output);
    }

    [Fact]
    public async Task Steps_show_each_instruction()
    {
        (CliResult result, _) = await RunAsync($"vcpu step 0 --count 2 {Kvmi}", static vm =>
        {
            vm.Reply(vm.Expect(MessageId.VcpuPause));
            vm.SendEvent(default(PauseVcpuEvent), rip: 0x100);
            vm.Reply(vm.Expect(MessageId.VcpuControlSinglestep));
            Code(vm, "90 C3");
            Assert.Equal(EventAction.Continue, vm.ExpectAnswer().Action);
            vm.SendEvent(new SinglestepEvent(failed: false), rip: 0x101);
            Code(vm, "C3 00");
            vm.ExpectAnswer();
            vm.SendEvent(new SinglestepEvent(failed: false), rip: 0x200);
            ReceivedMessage off = vm.Expect(MessageId.VcpuControlSinglestep);
            Assert.False(off.As<VcpuControlSinglestep>().Enable);
            vm.Reply(off);
            vm.ExpectAnswer();
        });
        Assert.Equal(
            """
                 1 0000000000000100  90                     nop
                 2 0000000000000101  c3                     ret

            """,
            result.Output);

        static void Code(ScriptedHypervisor vm, string bytes)
        {
            vm.Reply(vm.Expect(MessageId.VcpuTranslateGva), new VcpuTranslateGvaReply(new Gpa(0x1000)));
            ReceivedMessage read = vm.Expect(MessageId.VmReadPhysical);
            byte[] code = new byte[read.As<VmReadPhysical>().Size];
            Convert.FromHexString(bytes.Replace(" ", "", StringComparison.Ordinal)).CopyTo(code, 0);
            vm.Reply(read, code);
        }
    }

    [Fact]
    public async Task A_pause_holds_until_ctrl_c_and_then_lets_go()
    {
        using var interrupt = new CancellationTokenSource();
        (CliResult result, _) = await RunAsync(
            $"vcpu pause 1 {Kvmi}",
            vm =>
            {
                vm.Reply(vm.Expect(MessageId.VcpuPause));
                vm.SendEvent(default(PauseVcpuEvent), vcpu: 1, rip: 0x77);
            },
            whileRunning: async () =>
            {
                await interrupt.CancelAsync();
                return null;
            },
            interrupt: interrupt.Token,
            anyEnd: true);
        Assert.Equal(ExitCode.Done, result.ExitCode);
    }

    [Fact]
    public async Task Info_says_what_is_allowed()
    {
        (CliResult result, _) = await RunAsync($"vm info --json {Kvmi}", static vm =>
        {
            vm.Reply(vm.Expect(MessageId.VmGetMaxGfn), new VmGetMaxGfnReply(new Gfn(0x4000)));
            for (int i = 0; i < 25 + 11 + CommandCatalog.Extensions.Length + EventCatalog.Extensions.Length; i++)
            {
                ReceivedMessage check = vm.Receive();
                if (check.Id == MessageId.VmCheckCommand && check.As<VmCheckCommand>().Subject == MessageId.VmWritePhysical)
                    vm.Refuse(check, KvmError.NotPermitted);
                else
                    vm.Reply(check);
            }
        });
        Assert.Contains("\"vcpus\":2,\"maxGfn\":\"0x4000\"", result.Output, StringComparison.Ordinal);
        Assert.Contains("\"vm-write-physical\":\"not allowed\"", result.Output, StringComparison.Ordinal);
        Assert.Contains("\"pf\":\"allowed\"", result.Output, StringComparison.Ordinal);
    }

    // Plays the VM on this thread while the command runs on another; then the farewell that every tool makes.
    private async Task<(CliResult Result, CliResult? Meanwhile)> RunAsync(
        string commandLine,
        Action<ScriptedHypervisor> script,
        Func<Task<CliResult?>>? whileRunning = null,
        CancellationToken? interrupt = null,
        int lifted = 0,
        bool leaves = true,
        bool anyEnd = false)
    {
        Task<CliResult> running = Task.Run(() => RunCli.RunAsync(commandLine, interrupt), RunCli.Cancel);
        using var vm = new ScriptedHypervisor(_listener.Accept(timeoutMilliseconds: 60_000)!);
        vm.Greet(vcpus: 2);
        script(vm);
        CliResult? meanwhile = whileRunning is null ? null : await whileRunning();
        if (leaves && !anyEnd)
        {
            ReceivedMessage next = vm.Receive();
            if (next.Id == MessageId.VmSetPageAccess)
            {
                Assert.True(lifted == 0 || lifted == next.As<VmSetPageAccess>().Count);
                vm.Reply(next);
                next = vm.Receive();
            }

            Assert.Equal(MessageId.VmControlCleanup, next.Id);
            vm.Reply(next);
        }
        else if (anyEnd)
        {
            for (ReceivedMessage next = vm.Receive(); ; next = vm.Receive())
            {
                if (next.Id == MessageId.VmControlCleanup)
                {
                    vm.Reply(next);
                    break;
                }
            }
        }

        Assert.True(vm.SeesEnd());
        return (await running.WaitAsync(RunCli.Cancel), meanwhile);
    }
}
