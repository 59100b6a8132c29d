using Hyperscope.Vm;

namespace Hyperscope.Devices.Tests;

public sealed class LocalApicTests : IDisposable
{
    private readonly ApicSystem _system = new(4);

    public void Dispose() => _system.Dispose();

    [Fact]
    public void Registers_after_reset_are_those_of_the_manual()
    {
        Assert.Equal(0x0100_0000u, _system.Read(1, 0x20));
        Assert.Equal(0x0005_0014u, _system.Read(1, 0x30));
        Assert.Equal(0xffu, _system.Read(1, 0xf0));
        Assert.Equal(0xffff_ffffu, _system.Read(1, 0xe0));
        foreach (int offset in new[] { 0x320, 0x330, 0x340, 0x350, 0x360, 0x370 })
            Assert.Equal(0x1_0000u, _system.Read(1, offset));
        Assert.Equal(0x700u, _system.Read(0, 0x350));
        Assert.Equal(0xfee0_0900ul, _system.Controllers[0].ApicBase);
        Assert.Equal(0xfee0_0800ul, _system.Controllers[1].ApicBase);
    }

    [Fact]
    public void Higher_class_preempts_and_the_rest_waits_for_EOI()
    {
        _system.EnableAll();
        Fixed(0x31);
        Fixed(0x35);
        Fixed(0x52);
        Assert.Equal(0x52, _system.Acknowledge(1));
        Assert.False(_system.Controllers[1].HasPending);
        Assert.Equal(0x50u, _system.Read(1, 0xa0));
        Fixed(0x61);
        Assert.Equal(0x61, _system.Acknowledge(1));
        _system.Write(1, 0xb0, 0);
        Assert.False(_system.Controllers[1].HasPending);
        _system.Write(1, 0xb0, 0);
        Assert.Equal(0x35, _system.Acknowledge(1));
        Assert.False(_system.Controllers[1].HasPending); // 0x31 is of the same class
        _system.Write(1, 0xb0, 0);
        Assert.Equal(0x31, _system.Acknowledge(1));
    }

    [Fact]
    public void Task_priority_holds_back_its_class_and_below()
    {
        _system.EnableAll();
        _system.Controllers[1].TaskPriority = 4;
        Assert.Equal(0x40u, _system.Read(1, 0x80));
        Fixed(0x4f);
        Assert.False(_system.Controllers[1].HasPending);
        Fixed(0x50);
        Assert.True(_system.Controllers[1].HasPending);
        Assert.Equal(0x50, _system.Acknowledge(1));
        _system.Write(1, 0xb0, 0);
        int wakes = _system.Vcpus[1].Wakes;
        _system.Controllers[1].TaskPriority = 3;
        Assert.True(_system.Vcpus[1].Wakes > wakes);
        Assert.Equal(0x4f, _system.Acknowledge(1));
    }

    [Fact]
    public void Request_moves_to_in_service_and_out()
    {
        _system.EnableAll();
        Fixed(0x41);
        Assert.Equal(2u, _system.Read(1, 0x220));
        _system.Acknowledge(1);
        Assert.Equal(0u, _system.Read(1, 0x220));
        Assert.Equal(2u, _system.Read(1, 0x120));
        _system.Write(1, 0xb0, 0);
        Assert.Equal(0u, _system.Read(1, 0x120));
    }

    [Fact]
    public void Software_disabled_APIC_takes_no_fixed_interrupt_but_NMI()
    {
        Fixed(0x41);
        Assert.False(_system.Controllers[1].HasPending);
        _system.SendIpi(0, 1, 0x4400);
        Assert.True(_system.Controllers[1].TryTakeNmi());
        Assert.False(_system.Controllers[1].TryTakeNmi());
    }

    [Fact]
    public void Disabling_by_software_masks_the_local_vectors()
    {
        _system.EnableAll();
        _system.Write(1, 0x370, 0x33);
        Assert.Equal(0x33u, _system.Read(1, 0x370));
        _system.Write(1, 0xf0, 0xff);
        Assert.Equal(0x1_0033u, _system.Read(1, 0x370));
        _system.Write(1, 0x370, 0x33);
        Assert.Equal(0x1_0033u, _system.Read(1, 0x370));
    }

    [Theory]
    [InlineData(1u, new[] { 1 })]
    [InlineData(0xffu, new[] { 0, 1, 2, 3 })]
    [InlineData(9u, new int[0])]
    public void Physical_destination_is_an_id_or_everybody(uint destination, int[] reached)
    {
        _system.EnableAll();
        _system.SendIpi(0, destination, 0x4041);
        Assert.Equal(reached, Reached(0x41));
    }

    [Theory]
    [InlineData(0xffff_ffffu, 0x05u, new[] { 0, 2 })]
    [InlineData(0xffff_ffffu, 0xffu, new[] { 0, 1, 2, 3 })]
    [InlineData(0x0fff_ffffu, 0x13u, new[] { 2, 3 })]
    [InlineData(0x0fff_ffffu, 0x02u, new[] { 1 })]
    public void Logical_destination_follows_the_format_register(uint format, uint destination, int[] reached)
    {
        _system.EnableAll();
        uint[] logical = format >> 28 == 15 ? [1, 2, 4, 8] : [0x01, 0x02, 0x11, 0x12];
        for (int i = 0; i < 4; i++)
        {
            _system.Write(i, 0xe0, format);
            _system.Write(i, 0xd0, logical[i] << 24);
        }

        _system.SendIpi(0, destination, 0x4841);
        Assert.Equal(reached, Reached(0x41));
    }

    [Theory]
    [InlineData(0x44041u, new[] { 2 })]
    [InlineData(0x84041u, new[] { 0, 1, 2, 3 })]
    [InlineData(0xc4041u, new[] { 0, 1, 3 })]
    public void Shorthands_override_the_destination(uint command, int[] reached)
    {
        _system.EnableAll();
        _system.SendIpi(2, 1, command);
        Assert.Equal(reached, Reached(0x41));
    }

    [Fact]
    public void Lowest_priority_goes_to_the_least_busy()
    {
        _system.EnableAll();
        for (int i = 0; i < 4; i++)
        {
            _system.Write(i, 0xd0, 0x0100_0000u << i);
            _system.Write(i, 0x80, (uint)(0x40 - (0x10 * i)));
        }

        _system.SendIpi(0, 0x07, 0x4941);
        Assert.Equal([2], Reached(0x41));
    }

    [Fact]
    public void INIT_then_SIPI_starts_a_secondary_once()
    {
        _system.SendIpi(0, 1, 0x4600 | 0x99); // the power-up state waits for SIPI too
        Assert.Equal([0x99], _system.Vcpus[1].Startups);
        _system.SendIpi(0, 1, 0xc500);
        _system.SendIpi(0, 1, 0x8500); // de-assert
        Assert.Equal(1, _system.Vcpus[1].Inits);
        _system.SendIpi(0, 1, 0x4600 | 0x12);
        _system.SendIpi(0, 1, 0x4600 | 0x13);
        Assert.Equal([0x99, 0x12], _system.Vcpus[1].Startups);
    }

    [Fact]
    public void INIT_resets_the_registers()
    {
        _system.EnableAll();
        Fixed(0x41);
        _system.SendIpi(0, 1, 0xc500);
        Assert.False(_system.Controllers[1].HasPending);
        Assert.Equal(0xffu, _system.Read(1, 0xf0));
    }

    [Fact]
    public void Illegal_vectors_are_recorded_and_interrupt()
    {
        _system.EnableAll();
        _system.Write(1, 0x370, 0x77);
        _system.SendIpi(1, 0, 0x4005);
        Assert.Equal(0u, _system.Read(1, 0x280));
        _system.Write(1, 0x280, 0);
        Assert.Equal(0x20u, _system.Read(1, 0x280));
        Assert.Equal(0x77, _system.Acknowledge(1));
        _system.Write(1, 0x280, 0);
        Assert.Equal(0u, _system.Read(1, 0x280));
    }

    [Fact]
    public void One_shot_timer_fires_once_and_counts_down()
    {
        _system.EnableAll();
        _system.Write(0, 0x3e0, 0xb);
        _system.Write(0, 0x320, 0x41);
        _system.Write(0, 0x380, 1000);
        _system.Clock.Advance(400);
        Assert.Equal(600u, _system.Read(0, 0x390));
        Assert.False(_system.Controllers[0].HasPending);
        _system.Clock.Advance(600);
        Assert.Equal(0u, _system.Read(0, 0x390));
        Assert.Equal(0x41, _system.Acknowledge(0));
        _system.Write(0, 0xb0, 0);
        _system.Clock.Advance(10_000);
        Assert.False(_system.Controllers[0].HasPending);
    }

    [Theory]
    [InlineData(0x0u, 2)]
    [InlineData(0x1u, 4)]
    [InlineData(0x2u, 8)]
    [InlineData(0x3u, 16)]
    [InlineData(0x8u, 32)]
    [InlineData(0x9u, 64)]
    [InlineData(0xau, 128)]
    [InlineData(0xbu, 1)]
    public void Divide_configuration_scales_the_timer(uint configuration, int divisor)
    {
        _system.EnableAll();
        _system.Write(0, 0x320, 0x41);
        _system.Write(0, 0x3e0, configuration);
        _system.Write(0, 0x380, 1000);
        _system.Clock.Advance((1000 * divisor) - 1);
        Assert.False(_system.Controllers[0].HasPending);
        Assert.Equal(1u, _system.Read(0, 0x390));
        _system.Clock.Advance(1);
        Assert.True(_system.Controllers[0].HasPending);
    }

    [Fact]
    public void Periodic_timer_keeps_its_phase()
    {
        _system.EnableAll();
        _system.Write(0, 0x3e0, 0xb);
        _system.Write(0, 0x320, 0x2_0041);
        _system.Write(0, 0x380, 1_000_000);
        for (int i = 1; i <= 5; i++)
        {
            _system.Clock.AdvanceTo(i * 1_000_000L);
            Assert.Equal(0x41, _system.Acknowledge(0));
            _system.Write(0, 0xb0, 0);
        }

        _system.Clock.AdvanceTo(5_250_000);
        Assert.Equal(750_000u, _system.Read(0, 0x390));
        _system.Write(0, 0x380, 0);
        Assert.Null(_system.Clock.NextDeadline);
    }

    [Fact]
    public void The_shortest_period_does_not_flood_the_timer_thread()
    {
        _system.EnableAll();
        _system.Write(0, 0x3e0, 0xb);
        _system.Write(0, 0x320, 0x2_0041);
        _system.Write(0, 0x380, 1);
        int fired = 0;
        while (_system.Clock.NextDeadline is { } next && next < 1_000_000_000)
        {
            _system.Clock.AdvanceTo(next);
            fired++;
        }

        Assert.InRange(fired, 1000, 10_001);
    }

    [Fact]
    public void Masked_timer_counts_without_interrupting()
    {
        _system.EnableAll();
        _system.Write(0, 0x320, 0x1_0041);
        _system.Write(0, 0x380, 1000);
        _system.Clock.Advance(10_000);
        Assert.Equal(0u, _system.Read(0, 0x390));
        Assert.False(_system.Controllers[0].HasPending);
    }

    [Fact]
    public void TSC_deadline_fires_at_the_count_and_reads_zero_then()
    {
        _system.EnableAll();
        Assert.True(_system.Controllers[0].TryWriteMsr(MsrIndex.TscDeadline, 5000)); // ignored outside the mode
        Assert.Equal(0ul, _system.ReadMsr(0, MsrIndex.TscDeadline));
        _system.Write(0, 0x320, 0x4_0041);
        Assert.True(_system.Controllers[0].TryWriteMsr(MsrIndex.TscDeadline, 5001));
        Assert.Equal(5001ul, _system.ReadMsr(0, MsrIndex.TscDeadline));
        _system.Clock.AdvanceTo(2500); // TSC 5000
        Assert.False(_system.Controllers[0].HasPending);
        _system.Clock.AdvanceTo(2501);
        Assert.Equal(0x41, _system.Acknowledge(0));
        Assert.Equal(0ul, _system.ReadMsr(0, MsrIndex.TscDeadline));
    }

    [Fact]
    public void TSC_deadline_in_the_past_fires_at_once_and_zero_disarms()
    {
        _system.EnableAll();
        _system.Clock.AdvanceTo(1000);
        _system.Write(0, 0x320, 0x4_0041);
        _system.Controllers[0].TryWriteMsr(MsrIndex.TscDeadline, 1);
        _system.Clock.Advance(0);
        Assert.Equal(0x41, _system.Acknowledge(0));
        _system.Controllers[0].TryWriteMsr(MsrIndex.TscDeadline, ulong.MaxValue);
        _system.Controllers[0].TryWriteMsr(MsrIndex.TscDeadline, 0);
        Assert.Null(_system.Clock.NextDeadline);
    }

    [Fact]
    public void ExtINT_passes_the_8259_through_while_LINT0_is_unmasked()
    {
        ProgramPic();
        _system.Pic.Line(4).Set(true);
        Assert.True(_system.Vcpus[0].Wakes > 0);
        Assert.Equal(0x24, _system.Acknowledge(0));
        _system.Pic.Master.Out(0, 0x20);
        _system.EnableAll();
        _system.Write(0, 0x350, 0x1_0700);
        _system.Pic.Line(1).Set(true);
        Assert.False(_system.Controllers[0].HasPending);
        int wakes = _system.Vcpus[0].Wakes;
        _system.Write(0, 0x350, 0x700);
        Assert.True(_system.Vcpus[0].Wakes > wakes);
        Assert.Equal(0x21, _system.Acknowledge(0));
    }

    [Fact]
    public void LINT0_in_fixed_mode_delivers_its_own_vector_on_each_edge()
    {
        ProgramPic();
        _system.EnableAll();
        _system.Write(0, 0x350, 0x0051);
        _system.Pic.Line(0).Set(true);
        Assert.Equal(0x51, _system.Acknowledge(0));
        _system.Write(0, 0xb0, 0);
        _system.Pic.Line(0).Set(false);
        _system.Pic.Line(0).Set(true);
        Assert.Equal(0x51, _system.Acknowledge(0));
    }

    [Fact]
    public void LINT1_is_the_NMI_input()
    {
        _system.EnableAll();
        _system.Locals[0].PulseLint1();
        Assert.False(_system.Controllers[0].TryTakeNmi());
        _system.Write(0, 0x360, 0x400);
        _system.Locals[0].PulseLint1();
        Assert.True(_system.Controllers[0].TryTakeNmi());
    }

    [Fact]
    public void Globally_disabled_APIC_leaves_only_the_8259()
    {
        ProgramPic();
        _system.EnableAll();
        _system.SendIpi(0, 0, 0x4041);
        Assert.True(_system.Controllers[0].TryWriteMsr(MsrIndex.ApicBase, 0xfee0_0100));
        Assert.False(_system.Controllers[0].HasPending);
        Assert.False(_system.Locals[0].TryGetMmioBase(out _));
        Assert.Equal(uint.MaxValue, _system.Read(0, 0x20));
        _system.Pic.Line(3).Set(true);
        Assert.Equal(0x23, _system.Acknowledge(0));
    }

    [Theory]
    [InlineData(0xfee0_0c00ul, true)] // to x2APIC
    [InlineData(0xfee0_0000ul, true)] // off
    [InlineData(0xfee0_0400ul, false)] // x2APIC without enable
    [InlineData(0xfee0_0a00ul, false)] // reserved bit 9
    [InlineData(0x0010_0000_fee0_0800ul, false)] // beyond 52 bits
    [InlineData(0x0000_0001_0000_0800ul, true)] // moved
    public void Base_changes_from_xAPIC_mode_are_checked(ulong value, bool allowed)
    {
        Assert.Equal(allowed, _system.Controllers[1].TryWriteMsr(MsrIndex.ApicBase, value));
        Assert.Equal(allowed ? value : 0xfee0_0800, _system.Controllers[1].ApicBase);
    }

    [Fact]
    public void X2APIC_mode_is_left_only_by_disabling()
    {
        _system.EnableX2(1);
        Assert.False(_system.Controllers[1].TryWriteMsr(MsrIndex.ApicBase, 0xfee0_0800));
        Assert.True(_system.Controllers[1].TryWriteMsr(MsrIndex.ApicBase, 0xfee0_0000));
        Assert.False(_system.Controllers[1].TryWriteMsr(MsrIndex.ApicBase, 0xfee0_0c00));
        Assert.True(_system.Controllers[1].TryWriteMsr(MsrIndex.ApicBase, 0xfee0_0800));
    }

    [Fact]
    public void X2APIC_registers_are_MSRs_and_not_memory()
    {
        Assert.False(_system.Controllers[3].TryReadMsr(0x802, out _));
        _system.EnableX2(3);
        Assert.Equal(3ul, _system.ReadMsr(3, 0x802));
        Assert.Equal(0x8ul, _system.ReadMsr(3, 0x80d));
        Assert.Equal(uint.MaxValue, _system.Read(3, 0x20));
        Assert.True(_system.Controllers[3].TryWriteMsr(0x80f, 0x1ff));
        Assert.True(_system.Controllers[3].TryWriteMsr(0x83f, 0x41)); // self-IPI
        Assert.Equal(0x41, _system.Acknowledge(3));
        Assert.False(_system.Controllers[3].TryWriteMsr(0x80b, 1));
        Assert.True(_system.Controllers[3].TryWriteMsr(0x80b, 0));
        Assert.False(_system.Controllers[3].TryWriteMsr(0x808, 0x100));
        Assert.False(_system.Controllers[3].TryWriteMsr(0x802, 0));
        Assert.False(_system.Controllers[3].TryReadMsr(0x80e, out _));
        Assert.False(_system.Controllers[3].TryReadMsr(0x83f, out _));
        Assert.False(_system.Controllers[3].TryWriteMsr(0x832, 1 << 15));
    }

    [Fact]
    public void X2APIC_command_is_one_64_bit_write()
    {
        _system.EnableAll();
        for (int i = 0; i < 4; i++)
            _system.EnableX2(i);
        Assert.True(_system.Controllers[0].TryWriteMsr(0x830, 0x0000_0002_0000_4041));
        Assert.Equal([2], Reached(0x41));
        Assert.True(_system.Controllers[0].TryWriteMsr(0x830, 0x0000_000a_0000_4852)); // logical: cluster 0, members 1 and 3
        Assert.Equal([1, 3], Reached(0x52));
        Assert.True(_system.Controllers[0].TryWriteMsr(0x830, 0xffff_ffff_0000_4063));
        Assert.Equal([0, 1, 2, 3], Reached(0x63));
        Assert.False(_system.Controllers[0].TryWriteMsr(0x830, 0x10_0000));
    }

    [Fact]
    public void Sending_and_servicing_allocates_nothing()
    {
        _system.EnableAll();
        Round();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Round();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Round()
        {
            for (int i = 0; i < 1000; i++)
            {
                _system.SendIpi(0, 1, 0x4041);
                _system.Controllers[1].TryAcknowledge(out _);
                _system.Write(1, 0xb0, 0);
            }
        }
    }

    private void Fixed(uint vector) => _system.SendIpi(0, 1, 0x4000 | vector);

    private int[] Reached(byte vector)
    {
        var reached = new List<int>();
        for (int i = 0; i < _system.Controllers.Length; i++)
        {
            if (_system.Locals[i].ApicId == i && _system.Controllers[i].TryAcknowledge(out byte got) && got == vector)
                reached.Add(i);
        }

        return [.. reached];
    }

    private void ProgramPic()
    {
        foreach ((int offset, int value) in new[] { (0, 0x11), (1, 0x20), (1, 4), (1, 1) })
            _system.Pic.Master.Out(offset, value);
    }
}
