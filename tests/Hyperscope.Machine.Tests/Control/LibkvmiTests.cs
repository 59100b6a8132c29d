using System.Buffers.Binary;
using Hyperscope.Guests;
using Hyperscope.TestKit.Libkvmi;
using static Hyperscope.Guests.SelftestGuest;
using static Hyperscope.Machine.Tests.Control.LibkvmiBench;

namespace Hyperscope.Machine.Tests.Control;

/// <summary>The engine and the software machine as libkvmi's tools see them: kvmi-dialect-libkvmi.md 3 to 11.</summary>
public sealed class LibkvmiTests
{
    private static readonly uint[] HvmiMsrs = [0x174, 0x175, 0x176, 0xC0000080, 0xC0000081, 0xC0000082, 0xC0000083, 0x277, 0xC0000102];

    [Fact]
    public async Task The_version_announces_write_bitmap_and_views_and_no_virtualization_exceptions()
    {
        await using var bench = new LibkvmiBench(1);
        using LibkvmiClient tool = bench.Attach();
        LibkvmiReply reply = tool.Command(2);
        Assert.Equal("01000000000000000101010000000000", Convert.ToHexString(reply.Data));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public async Task A_tool_finds_its_way_about(int vcpus)
    {
        await using var bench = new LibkvmiBench(vcpus);
        using LibkvmiClient tool = bench.Attach();
        Assert.Equal(vcpus, BinaryPrimitives.ReadInt32LittleEndian(tool.Command(5).Data));
        ulong maxGfn = BinaryPrimitives.ReadUInt64LittleEndian(tool.Command(29).Data);
        Assert.Equal(bench.Machine.Memory.MaxGfn.Value, maxGfn);
        Assert.Equal(-2, tool.Command(17, LibkvmiClient.Range(maxGfn << 12, 4096)).Error);
        Assert.Equal(-22, tool.Command(17, LibkvmiClient.Range(0x1000, 4097)).Error);
        Assert.Equal(-22, tool.Command(17, LibkvmiClient.Range(0x1000, 0x1_0000_0010)).Error);
        Assert.Equal(-22, tool.Command(17, LibkvmiClient.Range(0x1FFF, 2)).Error);
        for (int vcpu = 0; vcpu < vcpus; vcpu++)
        {
            byte[] all = tool.GetRegisters((ushort)vcpu, HvmiMsrs);
            Assert.Equal(8, all[0]);
            Assert.Equal(0xC0000102, BinaryPrimitives.ReadUInt32LittleEndian(all.AsSpan(472 + (8 * 16))));
            Assert.Equal(472, tool.GetRegisters((ushort)vcpu).Length);
            Assert.Equal(472 + (9 * 16), tool.GetRegisters((ushort)vcpu, new uint[9]).Length); // the miscompiled tool
            foreach (int id in new[] { LibkvmiClient.Cr, LibkvmiClient.Msr, LibkvmiClient.PageFault, LibkvmiClient.Singlestep, LibkvmiClient.Trap })
            {
                Assert.Equal(0, tool.ControlEvent(vcpu, id, true));
                Assert.Equal(0, tool.ControlEvent(vcpu, id, true));
                Assert.Equal(0, tool.ControlEvent(vcpu, id, false));
                Assert.Equal(0, tool.ControlEvent(vcpu, id, false));
            }

            Assert.Equal(0, tool.ControlEvent(vcpu, LibkvmiClient.Breakpoint, true));
            Assert.Equal(0, tool.ControlEvent(vcpu, LibkvmiClient.Breakpoint, true));
            Assert.Equal(0, tool.Command(63, LibkvmiClient.OfVcpu(vcpu, new byte[8])).Error); // never was on
        }

        Assert.Equal(0, tool.Command(8, [0, 0, 1, 0, 0, 0, 0, 0]).Error); // UNHOOK
        Assert.Equal(0, tool.Command(8, [9, 0, 1, 0, 0, 0, 0, 0]).Error); // CREATE_VCPU
        Assert.Equal(-22, tool.Command(8, [1, 0, 1, 0, 0, 0, 0, 0]).Error);
        Assert.Equal(-22, tool.ControlEvent(0, 12, true));
        Assert.Equal(4096, tool.Command(16, LibkvmiClient.OfVcpu(0)).Data.Length);
        Assert.Equal(16, tool.Command(15, LibkvmiClient.OfVcpu(0, new byte[8])).Data.Length);
        Assert.Equal(8, tool.Command(23, LibkvmiClient.OfVcpu(0, new byte[8])).Data.Length);
        Assert.Equal(8, tool.Command(6, LibkvmiClient.OfVcpu(0)).Data.Length);
        Assert.Equal(-2, tool.SetPageAccess(maxGfn << 12, 5));
        Assert.Equal(0, tool.Command(3, [63, 0, 0, 0, 0, 0, 0, 0]).Error);
        Assert.Equal(-22, tool.Command(3, [64, 0, 0, 0, 0, 0, 0, 0]).Error);
        Assert.Equal(-22, tool.Command(4, [12, 0, 0, 0, 0, 0, 0, 0]).Error);
        Assert.Equal(-1000, tool.Command(22).Error);
        Assert.Equal(-1000, tool.Command(999, new byte[100]).Error);
        Assert.Equal(-95, tool.Command(33, LibkvmiClient.OfVcpu(0)).Error);
        Assert.Equal(-95, tool.Command(31, new byte[16]).Error);
        Assert.Equal(-22, tool.Command(13, LibkvmiClient.OfVcpu(vcpus, new byte[8])).Error);
        Assert.True(tool.IsQuiet);
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(4, false)]
    [InlineData(4, true)]
    public async Task A_paused_vm_stands_still_until_each_pause_is_answered(int vcpus, bool inPieces)
    {
        await using var bench = new LibkvmiBench(vcpus);
        using LibkvmiClient tool = bench.Attach();
        for (int round = 0; round < 20; round++)
        {
            Assert.Equal(0, tool.PauseAll(vcpus, inPieces));
            ulong[] before = [.. Enumerable.Range(0, vcpus).Select(vcpu => Field(tool, vcpu, SelftestGuest.Mailbox.Heartbeat))];
            var paused = new LibkvmiEvent[vcpus];
            for (int i = 0; i < vcpus; i++)
            {
                LibkvmiEvent pause = tool.NextEvent(LibkvmiClient.PauseVcpu, -1);
                Assert.Null(paused[pause.Vcpu]);
                paused[pause.Vcpu] = pause;
                Assert.Equal(pause.Rip, BinaryPrimitives.ReadUInt64LittleEndian(tool.GetRegisters(pause.Vcpu).AsSpan(8 + (16 * 8))));
            }

            ulong[] after = [.. Enumerable.Range(0, vcpus).Select(vcpu => Field(tool, vcpu, SelftestGuest.Mailbox.Heartbeat))];
            Assert.Equal(before, after);
            foreach (LibkvmiEvent pause in paused)
                tool.Answer(pause, LibkvmiClient.Continue);
        }

        for (int vcpu = 0; vcpu < vcpus; vcpu++)
            Run(tool, vcpu, SelftestAction.Nop);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public async Task No_step_is_reported_between_an_acknowledged_pause_and_its_event(int vcpus)
    {
        await using var bench = new LibkvmiBench(vcpus);
        using LibkvmiClient tool = bench.Attach();
        for (int vcpu = 0; vcpu < vcpus; vcpu++)
        {
            Assert.Equal(0, tool.ControlEvent(vcpu, LibkvmiClient.Singlestep, true));
            Assert.Equal(0, tool.Command(63, LibkvmiClient.OfVcpu(vcpu, 1, 0, 0, 0, 0, 0, 0, 0)).Error);
        }

        for (int round = 0; round < 50; round++)
        {
            // Steps go on; whoever waits for its step's answer counts as stopped.
            for (int step = 0; step < 2 * vcpus; step++)
                tool.Answer(tool.NextEvent(LibkvmiClient.Singlestep, -1), LibkvmiClient.Continue);
            Assert.Equal(0, tool.PauseAll(vcpus));
            var steps = new Dictionary<int, LibkvmiEvent>();
            while (tool.QueuedEvents > 0)
            {
                LibkvmiEvent early = tool.NextEvent();
                if (early.Id == LibkvmiClient.PauseVcpu)
                    steps.Add(early.Vcpu, early);
                else
                    tool.Answer(early, LibkvmiClient.Continue);
            }

            // From here on the next event of each vCPU is its pause.
            while (steps.Count < vcpus)
            {
                LibkvmiEvent pause = tool.NextEvent(LibkvmiClient.PauseVcpu, -1);
                steps.Add(pause.Vcpu, pause);
            }

            foreach (LibkvmiEvent pause in steps.Values)
                tool.Answer(pause, LibkvmiClient.Continue);
        }
    }

    [Theory]
    [InlineData(1, SelftestAction.Increment)]
    [InlineData(4, SelftestAction.Increment)]
    [InlineData(1, SelftestAction.Cpuid)]
    [InlineData(4, SelftestAction.Cpuid)]
    public async Task Nothing_happens_between_a_pause_that_follows_an_answer_and_its_event(int vcpus, SelftestAction action)
    {
        await using var bench = new LibkvmiBench(vcpus);
        using LibkvmiClient tool = bench.Attach();
        bool isCpuid = action == SelftestAction.Cpuid;
        Assert.Equal(0, tool.SetPageAccess(TestPage.Value, 1));
        Assert.Equal(0, tool.ControlEvent(0, isCpuid ? LibkvmiClient.Cpuid : LibkvmiClient.PageFault, true));
        for (int round = 0; round < 100; round++)
        {
            ulong done = Field(tool, 0, SelftestGuest.Mailbox.Done);
            Begin(tool, 0, action, isCpuid ? 1 : TestPage.Value);
            LibkvmiEvent asked = tool.NextEvent(isCpuid ? LibkvmiClient.Cpuid : LibkvmiClient.PageFault, 0);
            Assert.Equal(0, tool.Batch(wait: true, [
                (0, LibkvmiClient.AnswerOf(asked, LibkvmiClient.Continue), asked.Seq),
                (7, LibkvmiClient.OfVcpu(0, 1, 0, 0, 0, 0, 0, 0, 0), null)]));
            byte[] acknowledged = tool.Read(TestPage.Value, 64), mailbox = tool.Read(Mailbox(0), 64);
            LibkvmiEvent pause = tool.NextEvent(LibkvmiClient.PauseVcpu, 0);
            Assert.Equal(acknowledged, tool.Read(TestPage.Value, 64));
            Assert.Equal(mailbox, tool.Read(Mailbox(0), 64));
            tool.Answer(pause, LibkvmiClient.Continue);
            Finish(tool, 0, done);
        }

        if (!isCpuid)
            Assert.Equal(100UL, BitConverter.ToUInt64(tool.Read(TestPage.Value, 8)));
    }

    [Fact]
    public async Task Continue_lets_a_restricted_access_happen_and_retry_runs_it_again()
    {
        await using var bench = new LibkvmiBench(1);
        using LibkvmiClient tool = bench.Attach();
        Assert.Equal(0, tool.SetPageAccess(TestPage.Value, 1)); // before the event is on, as some tools do
        Assert.Equal(0, tool.ControlEvent(0, LibkvmiClient.PageFault, true));
        ulong done = Field(tool, 0, SelftestGuest.Mailbox.Done);
        Begin(tool, 0, SelftestAction.StoreQuad, TestPageAlias.Value + 16, 0x1122_3344_5566_7788);
        LibkvmiEvent fault = tool.NextEvent(LibkvmiClient.PageFault, 0);
        Assert.Equal(TestPageAlias.Value + 16, BinaryPrimitives.ReadUInt64LittleEndian(fault.Data));
        Assert.Equal(TestPage.Value + 16, BinaryPrimitives.ReadUInt64LittleEndian(fault.Data.AsSpan(8)));
        Assert.Equal(2, fault.Data[16]);
        tool.Answer(fault, LibkvmiClient.Continue);
        Finish(tool, 0, done);
        Assert.Equal(0x1122_3344_5566_7788UL, BitConverter.ToUInt64(tool.Read(TestPage.Value + 16, 8)));

        done = Field(tool, 0, SelftestGuest.Mailbox.Done);
        Begin(tool, 0, SelftestAction.StoreQuad, TestPage.Value + 16, 5);
        fault = tool.NextEvent(LibkvmiClient.PageFault, 0);
        Assert.Equal(0, tool.SetPageAccess(TestPage.Value, 7));
        tool.Answer(fault, LibkvmiClient.Retry);
        Finish(tool, 0, done);
        Assert.Equal(5UL, BitConverter.ToUInt64(tool.Read(TestPage.Value + 16, 8)));
    }

    [Fact]
    public async Task A_batched_answer_with_rights_and_registers_takes_effect_without_replies()
    {
        await using var bench = new LibkvmiBench(1);
        using LibkvmiClient tool = bench.Attach();
        Assert.Equal(0, tool.SetPageAccess(TestPage.Value, 1));
        Assert.Equal(0, tool.ControlEvent(0, LibkvmiClient.PageFault, true));
        ulong done = Field(tool, 0, SelftestGuest.Mailbox.Done);
        Begin(tool, 0, SelftestAction.StoreByte, TestPage.Value, 0x11);
        LibkvmiEvent fault = tool.NextEvent(LibkvmiClient.PageFault, 0);
        byte[] registers = fault.Payload[16..160];
        BinaryPrimitives.WriteUInt64LittleEndian(registers.AsSpan(3 * 8), 0x99); // rdx, what is stored
        tool.Batch(wait: false, [
            (21, LibkvmiClient.PageAccess(TestPage.Value, 7), null),
            (14, LibkvmiClient.OfVcpu(0, registers), null),
            (0, LibkvmiClient.AnswerOf(fault, LibkvmiClient.Retry), fault.Seq)]);
        Finish(tool, 0, done);
        Assert.Equal(0x99, tool.Read(TestPage.Value, 1)[0]);
        Assert.True(tool.IsQuiet);
    }

    [Fact]
    public async Task Every_page_of_a_repeated_copy_raises_one_event_when_the_tool_completes_it()
    {
        await using var bench = new LibkvmiBench(1);
        using LibkvmiClient tool = bench.Attach();
        Assert.Equal(0, tool.SetPageAccess(TestPage.Value, 1));
        Assert.Equal(0, tool.ControlEvent(0, LibkvmiClient.PageFault, true));
        ulong done = Field(tool, 0, SelftestGuest.Mailbox.Done);
        Begin(tool, 0, SelftestAction.CopyBytes, TestPage.Value, Code.Value, 64);
        LibkvmiEvent fault = tool.NextEvent(LibkvmiClient.PageFault, 0);
        tool.Answer(fault, LibkvmiClient.Continue, fault: new PageFaultAnswer(CompletesRepeat: true));
        Finish(tool, 0, done);
        Assert.True(tool.IsQuiet);
        Assert.Equal(tool.Read(Code.Value, 64), tool.Read(TestPage.Value, 64));
    }

    [Fact]
    public async Task Registers_and_instructions_are_reported_in_this_dialect()
    {
        await using var bench = new LibkvmiBench(1);
        using LibkvmiClient tool = bench.Attach();
        Assert.Equal(0, tool.ControlEvent(0, LibkvmiClient.Cr, true));
        Assert.Equal(0, tool.Command(10, LibkvmiClient.OfVcpu(0, 1, 0, 0, 0, 4, 0, 0, 0)).Error);
        Assert.Equal(-22, tool.Command(10, LibkvmiClient.OfVcpu(0, 1, 0, 0, 0, 2, 0, 0, 0)).Error);
        Assert.Equal(-22, tool.Command(10, LibkvmiClient.OfVcpu(0, 1, 0, 0, 0, 4, 1, 0, 0)).Error);
        LibkvmiEvent seen = Report(tool, SelftestAction.SetCr4Bits, 1UL << 7, 0, LibkvmiClient.Cr, out ulong done);
        Assert.Equal(4, seen.Data[0]);
        ulong before = BinaryPrimitives.ReadUInt64LittleEndian(seen.Data.AsSpan(8));
        tool.Answer(seen, LibkvmiClient.Continue, before);
        Assert.Equal(before, Finish(tool, 0, done));
        Assert.Equal(0, tool.ControlEvent(0, LibkvmiClient.Cr, false));

        Assert.Equal(0, tool.ControlEvent(0, LibkvmiClient.Msr, true));
        Assert.Equal(0, tool.Command(11, LibkvmiClient.OfVcpu(0, 1, 0, 0, 0, 0x82, 0, 0, 0xC0)).Error);
        Assert.Equal(-22, tool.Command(11, LibkvmiClient.OfVcpu(0, 1, 0, 0, 0, 0, 0x20, 0, 0)).Error);
        seen = Report(tool, SelftestAction.SetMsrBits, 0xC0000082, 0x1234, LibkvmiClient.Msr, out done);
        Assert.Equal(0xC0000082, BinaryPrimitives.ReadUInt32LittleEndian(seen.Data));
        tool.Answer(seen, LibkvmiClient.Continue, 0x4000);
        Assert.Equal(0x4000UL, Finish(tool, 0, done));

        Assert.Equal(0, tool.ControlEvent(0, LibkvmiClient.Cpuid, true));
        seen = Report(tool, SelftestAction.Cpuid, 1, 0, LibkvmiClient.Cpuid, out done);
        Assert.Equal((1u, 2), (BinaryPrimitives.ReadUInt32LittleEndian(seen.Data), seen.Data[8]));
        tool.Answer(seen, LibkvmiClient.Continue);
        Assert.NotEqual(0UL, Finish(tool, 0, done));
        Assert.Equal(0, tool.ControlEvent(0, LibkvmiClient.Cpuid, false));

        Assert.Equal(0, tool.ControlEvent(0, LibkvmiClient.Hypercall, true));
        tool.Answer(Report(tool, SelftestAction.Hypercall, 0, 0, LibkvmiClient.Hypercall, out done), LibkvmiClient.Continue);
        Assert.Equal(0UL, Finish(tool, 0, done));

        Assert.Equal(0, tool.ControlEvent(0, LibkvmiClient.Xsetbv, true));
        tool.Answer(Report(tool, SelftestAction.ToggleXcr0, 2, 0, LibkvmiClient.Xsetbv, out done), LibkvmiClient.Continue);
        Finish(tool, 0, done);

        Assert.Equal(0, tool.ControlEvent(0, LibkvmiClient.Descriptor, true));
        seen = Report(tool, SelftestAction.StoreAndLoadGdtr, 0, 0, LibkvmiClient.Descriptor, out done);
        Assert.Equal([2, 0], seen.Data[..2]);
        tool.Answer(seen, LibkvmiClient.Continue);
        seen = tool.NextEvent(LibkvmiClient.Descriptor, 0);
        Assert.Equal([2, 1], seen.Data[..2]);
        tool.Answer(seen, LibkvmiClient.Continue);
        Finish(tool, 0, done);

        Assert.Equal(0, tool.ControlEvent(0, LibkvmiClient.Breakpoint, true));
        seen = Report(tool, SelftestAction.Breakpoint, 0, 0, LibkvmiClient.Breakpoint, out done);
        Assert.Equal(seen.Rip, BinaryPrimitives.ReadUInt64LittleEndian(seen.Data)); // identity-mapped
        Assert.Equal(1, seen.Data[8]);
        tool.Answer(seen, LibkvmiClient.Continue);
        Finish(tool, 0, done);
        Assert.Equal(3UL, Field(tool, 0, SelftestGuest.Mailbox.FaultVector));

        Assert.Equal(0, tool.Command(19, LibkvmiClient.OfVcpu(0, [14, 0, 0, 0, 4, 0, 0, 0, .. BitConverter.GetBytes(0x7777UL)])).Error);
        seen = tool.NextEvent(LibkvmiClient.Trap, 0);
        Assert.Equal(14, seen.Data[0]);
        Assert.Equal(0x7777UL, BinaryPrimitives.ReadUInt64LittleEndian(seen.Data.AsSpan(8)));
        tool.Answer(seen, LibkvmiClient.Continue);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public async Task A_megabyte_of_commands_is_taken_from_a_tool_that_does_not_read(int vcpus)
    {
        await using var bench = new LibkvmiBench(vcpus);
        using LibkvmiClient tool = bench.Attach();
        var bytes = new List<byte>();
        var sent = new Queue<(ushort Id, uint Seq)>();
        byte[] page = LibkvmiClient.Range(0x1000, 4096);
        while (bytes.Count < 1 << 20)
        {
            uint seq = tool.NextSeq();
            sent.Enqueue((17, seq));
            bytes.AddRange(LibkvmiClient.Compose(17, seq, page));
        }

        byte[] megabyte = [.. bytes];
        tool.Write(megabyte.AsSpan(0, 64 * 1024)); // 2730 replies of 4 KiB wait for a reader
        for (int done = 0; done < 64 * 1024 / 24; done++)
        {
            (ushort id, uint seq) = sent.Dequeue();
            Assert.Equal(4096, tool.WaitReply(id, seq).Data.Length);
        }

        // The rest of that message, then a whole megabyte with replies off.
        tool.Write(megabyte.AsSpan(64 * 1024, 24 - (64 * 1024 % 24)));
        (ushort lastId, uint lastSeq) = sent.Dequeue();
        tool.WaitReply(lastId, lastSeq);
        byte[] write = [.. LibkvmiClient.Range(TestPage.Value, 4000), .. Enumerable.Repeat((byte)0xA5, 4000)];
        (ushort, byte[], uint?)[] writes = [.. Enumerable.Repeat(((ushort)18, write, (uint?)null), (1 << 20) / 4024)];
        Assert.Equal(0, tool.Batch(wait: true, writes));
        Assert.Equal(0xA5, tool.Read(TestPage.Value + 3999, 1)[0]);
        Assert.True(tool.IsQuiet);
    }

    [Fact]
    public async Task A_payload_above_8184_bytes_closes()
    {
        await using var bench = new LibkvmiBench(1);
        using LibkvmiClient tool = bench.Attach();
        Assert.Equal(0, tool.Command(21, [0, 0, 0xFF, 1, 0, 0, 0, 0, .. Pages(511)]).Error); // 8184: the most
        tool.Write([21, 0, 0xF9, 0x1F, 1, 0, 0, 0]);
        Assert.True(tool.IsClosedByPeer());

        static byte[] Pages(int count) =>
            [.. Enumerable.Range(0, count).SelectMany(static i => LibkvmiClient.PageAccess((ulong)i << 12, 7)[8..])];
    }

    [Fact]
    public async Task A_command_that_returns_data_while_replies_are_off_closes()
    {
        await using var bench = new LibkvmiBench(1);
        using LibkvmiClient tool = bench.Attach();
        tool.Post(27, [0, 1, 0, 0, 0, 0, 0, 0]);
        tool.Post(5);
        Assert.True(tool.IsClosedByPeer());
    }

    [Fact]
    public async Task Reply_control_follows_its_table()
    {
        await using var bench = new LibkvmiBench(1);
        using LibkvmiClient tool = bench.Attach();
        Assert.Equal(0, tool.Command(27, [1, 0, 0, 0, 0, 0, 0, 0]).Error); // on, was on: answered as before
        Assert.Equal(0, tool.Command(27, [0, 0, 0, 0, 0, 0, 0, 0]).Error); // off from the next message on
        tool.Post(21, LibkvmiClient.PageAccess(TestPage.Value, 7));
        tool.Post(21, LibkvmiClient.PageAccess(1UL << 50, 7)); // an error, which is not told either
        Assert.Equal(0, tool.Command(27).Error); // no payload counts as zeros: off from the next on, and answered
        tool.Post(27, [1, 0, 0, 0, 0, 0, 0, 0]); // was off: not answered
        Assert.Equal(0, tool.Command(27, [1, 1, 0, 0, 0, 0, 0, 0]).Error);
        Assert.Equal(16, tool.Command(5).Data.Length);
    }

    public static TheoryData<string, int> Departures => new()
    {
        { "idle", 1 }, { "idle", 4 }, { "paused", 1 }, { "paused", 4 }, { "fault", 1 }, { "fault", 4 }, { "step", 1 }, { "step", 4 },
        { "silent", 1 }, { "mid-message", 1 }, { "batch", 4 },
    };

    [Theory]
    [MemberData(nameof(Departures))]
    public async Task A_tool_that_vanishes_leaves_nothing_behind_and_the_vm_comes_back(string state, int vcpus)
    {
        await using var bench = new LibkvmiBench(vcpus);
        using (LibkvmiClient tool = bench.Attach())
        {
            Assert.Equal(0, tool.SetPageAccess(TestPage.Value, 1));
            for (int vcpu = 0; vcpu < vcpus; vcpu++)
            {
                Assert.Equal(0, tool.ControlEvent(vcpu, LibkvmiClient.PageFault, true));
                Assert.Equal(0, tool.ControlEvent(vcpu, LibkvmiClient.Cr, true));
                Assert.Equal(0, tool.Command(10, LibkvmiClient.OfVcpu(vcpu, 1, 0, 0, 0, 4, 0, 0, 0)).Error);
            }

            switch (state)
            {
                case "paused":
                    Assert.Equal(0, tool.PauseAll(vcpus));
                    break;
                case "fault":
                    Begin(tool, 0, SelftestAction.StoreByte, TestPage.Value, 1);
                    tool.NextEvent(LibkvmiClient.PageFault, 0);
                    break;
                case "step":
                    Assert.Equal(0, tool.Command(63, LibkvmiClient.OfVcpu(0, 1, 0, 0, 0, 0, 0, 0, 0)).Error);
                    tool.NextEvent(LibkvmiClient.Singlestep, 0);
                    break;
                case "silent":
                    tool.Post(27, [0, 1, 0, 0, 0, 0, 0, 0]);
                    break;
                case "mid-message":
                    tool.Write([21, 0, 24, 0, 1]);
                    break;
                case "batch":
                    tool.Batch(wait: false, [.. Enumerable.Range(0, vcpus).Select(
                        static vcpu => ((ushort)7, LibkvmiClient.OfVcpu(vcpu, new byte[8]), (uint?)null))]);
                    break;
            }
        }

        using LibkvmiClient next = bench.Attach();
        for (int vcpu = 0; vcpu < vcpus; vcpu++)
        {
            Run(next, vcpu, SelftestAction.StoreByte, TestPage.Value, 2);
            Assert.Equal(0, next.ControlEvent(vcpu, LibkvmiClient.PageFault, true));
            Run(next, vcpu, SelftestAction.StoreByte, TestPage.Value, 3); // no restriction is left
            Assert.Equal(0, next.ControlEvent(vcpu, LibkvmiClient.Cr, true));
            Run(next, vcpu, SelftestAction.SetCr4Bits, 1UL << 7);
        }

        Assert.True(next.IsQuiet);
    }

    private static LibkvmiEvent Report(LibkvmiClient tool, SelftestAction action, ulong a, ulong b, int id, out ulong done)
    {
        done = Field(tool, 0, SelftestGuest.Mailbox.Done);
        Begin(tool, 0, action, a, b);
        return tool.NextEvent(id, 0);
    }
}
