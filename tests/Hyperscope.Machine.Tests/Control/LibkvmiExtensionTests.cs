using System.Buffers.Binary;
using Hyperscope.Guests;
using Hyperscope.TestKit.Libkvmi;
using static Hyperscope.Guests.SelftestGuest;
using static Hyperscope.Machine.Tests.Control.LibkvmiBench;

namespace Hyperscope.Machine.Tests.Control;

/// <summary>What libkvmi's tools use beyond v9: kvmi-dialect-libkvmi.md 4.2 (26, 31 to 60) and 7.5.</summary>
public sealed class LibkvmiExtensionTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public async Task A_read_sees_the_data_of_the_answer(int vcpus)
    {
        await using var bench = new LibkvmiBench(vcpus);
        using LibkvmiClient tool = bench.Attach();
        Assert.Equal(0, tool.SetPageAccess(TestPage.Value, 4));
        for (int vcpu = 0; vcpu < vcpus; vcpu++)
        {
            Assert.Equal(0, tool.ControlEvent(vcpu, LibkvmiClient.PageFault, true));
            ulong done = Field(tool, vcpu, SelftestGuest.Mailbox.Done);
            Begin(tool, vcpu, SelftestAction.LoadQuad, TestPageAlias.Value + 8);
            LibkvmiEvent fault = tool.NextEvent(LibkvmiClient.PageFault, vcpu);
            ulong gva = BinaryPrimitives.ReadUInt64LittleEndian(fault.Data);
            tool.Answer(fault, LibkvmiClient.Continue, fault: new PageFaultAnswer(gva, BitConverter.GetBytes(0x1234_5678_9ABCUL)));
            Assert.Equal(0x1234_5678_9ABCUL, Finish(tool, vcpu, done));
            Assert.Equal(0UL, BitConverter.ToUInt64(tool.Read(TestPage.Value + 8, 8)));
        }
    }

    [Fact]
    public async Task Data_of_an_answer_to_a_write_is_not_what_is_written()
    {
        await using var bench = new LibkvmiBench(1);
        using LibkvmiClient tool = bench.Attach();
        Assert.Equal(0, tool.SetPageAccess(TestPage.Value, 1));
        Assert.Equal(0, tool.ControlEvent(0, LibkvmiClient.PageFault, true));
        ulong done = Field(tool, 0, SelftestGuest.Mailbox.Done);
        Begin(tool, 0, SelftestAction.StoreQuad, TestPage.Value, 5);
        tool.Answer(tool.NextEvent(LibkvmiClient.PageFault, 0), LibkvmiClient.Continue, fault: new PageFaultAnswer(TestPage.Value, [9]));
        Finish(tool, 0, done);
        Assert.Equal(5UL, BitConverter.ToUInt64(tool.Read(TestPage.Value, 8)));
    }

    [Fact]
    public async Task A_copy_that_is_completed_sees_the_data_in_each_element()
    {
        await using var bench = new LibkvmiBench(1);
        using LibkvmiClient tool = bench.Attach();
        byte[] data = [.. Enumerable.Range(1, 64).Select(static one => (byte)one)];
        Assert.Equal(0, tool.SetPageAccess(TestPage.Value, 4));
        Assert.Equal(0, tool.ControlEvent(0, LibkvmiClient.PageFault, true));
        ulong done = Field(tool, 0, SelftestGuest.Mailbox.Done), to = TestPage.Value + 0x1000;
        Begin(tool, 0, SelftestAction.CopyBytes, to, TestPage.Value, 64);
        tool.Answer(tool.NextEvent(LibkvmiClient.PageFault, 0), LibkvmiClient.Continue,
            fault: new PageFaultAnswer(TestPage.Value, data, CompletesRepeat: true));
        Finish(tool, 0, done);
        Assert.True(tool.IsQuiet);
        Assert.Equal(data, tool.Read(to, 64));
    }

    [Fact]
    public async Task A_write_bitmap_stops_writes_to_its_pieces_until_the_page_is_opened()
    {
        await using var bench = new LibkvmiBench(1);
        using LibkvmiClient tool = bench.Attach();
        Assert.Equal(0, tool.SetPageAccess(TestPage.Value, 5)); // as tools do first; the bitmap decides then
        Assert.Equal(0, tool.ControlEvent(0, LibkvmiClient.PageFault, true));
        Assert.Equal(0, tool.Command(26, [0, 0, 1, 0, 0, 0, 0, 0, .. BitConverter.GetBytes(TestPage.Value), 0xFD, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]).Error);
        Run(tool, 0, SelftestAction.StoreByte, TestPage.Value + 127, 1);
        Run(tool, 0, SelftestAction.StoreByte, TestPage.Value + 256, 1);
        Assert.True(tool.IsQuiet);
        ulong done = Field(tool, 0, SelftestGuest.Mailbox.Done);
        Begin(tool, 0, SelftestAction.StoreQuad, TestPage.Value + 124, 5);
        LibkvmiEvent fault = tool.NextEvent(LibkvmiClient.PageFault, 0);
        Assert.Equal(TestPage.Value + 124, BinaryPrimitives.ReadUInt64LittleEndian(fault.Data.AsSpan(8)));
        tool.Answer(fault, LibkvmiClient.Continue);
        Finish(tool, 0, done);
        Assert.Equal(0, tool.SetPageAccess(TestPage.Value, 7));
        Run(tool, 0, SelftestAction.StoreByte, TestPage.Value + 128, 1);
        Assert.True(tool.IsQuiet);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public async Task Views_restrict_each_vcpu_by_itself_and_are_named_in_events(int vcpus)
    {
        await using var bench = new LibkvmiBench(vcpus);
        using LibkvmiClient tool = bench.Attach();
        ushort view = BinaryPrimitives.ReadUInt16LittleEndian(tool.Command(43).Data);
        Assert.Equal(1, view);
        byte[] access = LibkvmiClient.PageAccess(TestPage.Value, 1);
        access[0] = (byte)view;
        Assert.Equal(0, tool.Command(21, access).Error);
        access[0] = 9;
        Assert.Equal(-22, tool.Command(21, access).Error);
        for (int vcpu = 0; vcpu < vcpus; vcpu++)
            Assert.Equal(0, tool.ControlEvent(vcpu, LibkvmiClient.PageFault, true));
        for (int inside = 0; inside < vcpus; inside++)
        {
            Assert.Equal(0, tool.Command(32, LibkvmiClient.OfVcpu(inside, (byte)view, 0, 0, 0, 0, 0, 0, 0)).Error);
            Assert.Equal(view, BinaryPrimitives.ReadUInt16LittleEndian(tool.Command(34, LibkvmiClient.OfVcpu(inside)).Data));
            for (int vcpu = 0; vcpu < vcpus; vcpu++)
            {
                ulong done = Field(tool, vcpu, SelftestGuest.Mailbox.Done);
                Begin(tool, vcpu, SelftestAction.StoreByte, TestPage.Value, 1);
                if (vcpu == inside)
                {
                    LibkvmiEvent fault = tool.NextEvent(LibkvmiClient.PageFault, vcpu);
                    Assert.Equal((view, view), (BinaryPrimitives.ReadUInt16LittleEndian(fault.Payload.AsSpan(10)),
                        BinaryPrimitives.ReadUInt16LittleEndian(fault.Data.AsSpan(18))));
                    tool.Answer(fault, LibkvmiClient.Continue);
                }

                Finish(tool, vcpu, done);
            }

            Assert.Equal(-16, tool.Command(44, [(byte)view, 0, 0, 0, 0, 0, 0, 0]).Error);
            Assert.Equal(0, tool.Command(36, LibkvmiClient.OfVcpu(inside, (byte)view, 0, 1, 0, 0, 0, 0, 0)).Error);
            Assert.Equal(0, tool.Command(32, LibkvmiClient.OfVcpu(inside, new byte[8])).Error);
        }

        Assert.True(tool.IsQuiet);
        Assert.Equal(0, tool.Command(44, [(byte)view, 0, 0, 0, 0, 0, 0, 0]).Error);
        Assert.Equal(-22, tool.Command(32, LibkvmiClient.OfVcpu(0, (byte)view, 0, 0, 0, 0, 0, 0, 0)).Error);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)] // as the older library asks: no view
    public async Task A_page_is_replaced_by_a_new_one_in_a_view(bool isOlder)
    {
        await using var bench = new LibkvmiBench(1);
        using LibkvmiClient tool = bench.Attach();
        ulong shadow = BinaryPrimitives.ReadUInt64LittleEndian(tool.Command(31).Data), page = TestPage.Value >> 12;
        Assert.Equal(BinaryPrimitives.ReadUInt64LittleEndian(tool.Command(29).Data), shadow);
        Assert.Equal(0, tool.Command(41, LibkvmiClient.OfVcpu(0, BitConverter.GetBytes(shadow))).Error);
        Assert.Equal(shadow + 1, BinaryPrimitives.ReadUInt64LittleEndian(tool.Command(31).Data));
        Assert.Equal(0, tool.WriteMemory(shadow << 12, BitConverter.GetBytes(77UL)));
        ushort view = BinaryPrimitives.ReadUInt16LittleEndian(tool.Command(43).Data);
        Assert.Equal(0, tool.Command(32, LibkvmiClient.OfVcpu(0, (byte)view, 0, 0, 0, 0, 0, 0, 0)).Error);
        byte[] change = isOlder ? [.. BitConverter.GetBytes(page), .. BitConverter.GetBytes(shadow)]
            : [(byte)view, 0, 0, 0, 0, 0, 0, 0, .. BitConverter.GetBytes(page), .. BitConverter.GetBytes(shadow)];
        Assert.Equal(0, tool.Command(60, LibkvmiClient.OfVcpu(0, change)).Error);
        Assert.Equal(77UL, Run(tool, 0, SelftestAction.LoadQuad, TestPage.Value));
        Assert.Equal(0, tool.Command(32, LibkvmiClient.OfVcpu(0, new byte[8])).Error);
        Assert.Equal(0UL, Run(tool, 0, SelftestAction.LoadQuad, TestPage.Value));
        Assert.Equal(0, tool.Command(42, LibkvmiClient.OfVcpu(0, BitConverter.GetBytes(shadow))).Error);
        Assert.Equal(-2, tool.Command(42, LibkvmiClient.OfVcpu(0, BitConverter.GetBytes(shadow))).Error);
        byte[] block = tool.Command(39, BitConverter.GetBytes(page)).Data;
        Assert.Equal(16, block.Length);
        Assert.InRange(page - BinaryPrimitives.ReadUInt64LittleEndian(block), 0UL, BinaryPrimitives.ReadUInt64LittleEndian(block.AsSpan(8)) - 1);
        Assert.Equal(-2, tool.Command(39, BitConverter.GetBytes(shadow)).Error);
    }

    [Fact]
    public async Task A_tool_that_leaves_in_another_view_leaves_memory_plain()
    {
        await using var bench = new LibkvmiBench(4);
        using (LibkvmiClient tool = bench.Attach())
        {
            ushort view = BinaryPrimitives.ReadUInt16LittleEndian(tool.Command(43).Data);
            byte[] access = LibkvmiClient.PageAccess(TestPage.Value, 0);
            access[0] = (byte)view;
            Assert.Equal(0, tool.Command(21, access).Error);
            for (int vcpu = 0; vcpu < 4; vcpu++)
            {
                Assert.Equal(0, tool.ControlEvent(vcpu, LibkvmiClient.PageFault, true));
                Assert.Equal(0, tool.Command(32, LibkvmiClient.OfVcpu(vcpu, (byte)view, 0, 0, 0, 0, 0, 0, 0)).Error);
            }

            Assert.Equal(0, tool.PauseAll(4));
        }

        using LibkvmiClient next = bench.Attach();
        for (int vcpu = 0; vcpu < 4; vcpu++)
        {
            Assert.Equal(0, next.ControlEvent(vcpu, LibkvmiClient.PageFault, true));
            Assert.Equal(0, BinaryPrimitives.ReadUInt16LittleEndian(next.Command(34, LibkvmiClient.OfVcpu(vcpu)).Data));
            Run(next, vcpu, SelftestAction.StoreByte, TestPage.Value, 3);
        }

        Assert.Equal(1, bench.Machine.Views.Count);
    }
}
