using System.Runtime.InteropServices;

namespace Hyperscope.Introspection.Tests;

/// <summary>The commands of the VM: every row of kvmi-abi.md 2.5 that the receive thread answers.</summary>
public sealed class VmCommandTests
{
    [Theory]
    [InlineData(VmCapabilities.All, true)]
    [InlineData(VmCapabilities.None, false)]
    public void Version_is_1_and_single_step_is_what_the_back_end_says(VmCapabilities capabilities, bool expected)
    {
        using var bench = new Bench(capabilities: capabilities);
        GetVersionReply reply = bench.Tool.Call(default(GetVersion)).As<GetVersionReply>();
        Assert.Equal((1u, expected), (reply.Version, reply.Features.Singlestep));
        Assert.True(reply.IsWellFormed);
    }

    [Fact]
    public void Unknown_ids_are_ENOSYS_and_the_connection_goes_on()
    {
        using var bench = new Bench();
        foreach (ushort id in new ushort[] { 26, 0x7FFF, 0x8FFF, 0xFFFF })
        {
            bench.Tool.PostRaw(id, []);
            Assert.Equal(KvmError.UnknownCommand, bench.Tool.ReceiveReply((MessageId)id, bench.Tool.LastSeq).Error);
        }

        Assert.Equal(KvmError.None, bench.Tool.Error(default(GetVersion)));
    }

    [Fact]
    public void Check_command_looks_at_padding_then_id_then_permission()
    {
        using var bench = new Bench();
        Assert.Equal(KvmError.None, bench.Tool.Error(new VmCheckCommand(MessageId.VmGetInfo)));
        foreach (int offset in Enumerable.Range(2, 6))
            Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VmCheckCommand((MessageId)0xFFFF), offset));
        Assert.Equal(KvmError.NotFound, bench.Tool.Error(new VmCheckCommand((MessageId)0xFFFF)));
        Assert.Equal(KvmError.NotFound, bench.Tool.Error(new VmCheckCommand((MessageId)26)));
        Assert.Equal(KvmError.None, bench.Tool.Error(new VmCheckCommand(MessageId.Event)));
        bench.Introspector.SetCommandPermission((int)MessageId.VmGetInfo, 0);
        Assert.Equal(KvmError.NotPermitted, bench.Tool.Error(new VmCheckCommand(MessageId.VmGetInfo)));
    }

    [Fact]
    public void Check_event_looks_at_padding_then_id_then_permission()
    {
        using var bench = new Bench();
        Assert.Equal(KvmError.None, bench.Tool.Error(new VmCheckEvent(EventId.Unhook)));
        foreach (int offset in Enumerable.Range(2, 6))
            Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VmCheckEvent((EventId)0xFFFF), offset));
        Assert.Equal(KvmError.NotFound, bench.Tool.Error(new VmCheckEvent((EventId)0xFFFF)));
        Assert.Equal(KvmError.NotFound, bench.Tool.Error(new VmCheckEvent((EventId)0x0109)));
        bench.Introspector.SetEventPermission((int)EventId.Unhook, 0);
        Assert.Equal(KvmError.NotPermitted, bench.Tool.Error(new VmCheckEvent(EventId.Unhook)));
    }

    [Fact]
    public void Info_counts_vcpus()
    {
        using var bench = new Bench(vcpus: 3);
        VmGetInfoReply reply = bench.Tool.Call(default(VmGetInfo)).As<VmGetInfoReply>();
        Assert.Equal(3u, reply.VcpuCount);
        Assert.True(reply.IsWellFormed);
    }

    [Fact]
    public void Control_events_knows_only_unhook()
    {
        using var bench = new Bench();
        Assert.Equal(KvmError.None, bench.Tool.Error(new VmControlEvents(EventId.Unhook, true)));
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VmControlEvents(EventId.Unhook, true), 2, 2));
        foreach (int offset in Enumerable.Range(3, 5))
            Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VmControlEvents(EventId.Unhook, true), offset));
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Error(new VmControlEvents((EventId)0xFFFF, true)));
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Error(new VmControlEvents(EventId.PageFault, true)));
        bench.Introspector.SetEventPermission((int)EventId.Unhook, 0);
        Assert.Equal(KvmError.NotPermitted, bench.Tool.Error(new VmControlEvents(EventId.Unhook, true)));
        Assert.Equal(KvmError.NotPermitted, bench.Tool.Error(new VmControlEvents(EventId.Unhook, false)));
    }

    [Fact]
    public void A_page_that_is_written_reads_back()
    {
        using var bench = new Bench();
        byte[] page = new byte[4096];
        new Random(7).NextBytes(page);
        Assert.Equal(KvmError.None, bench.Tool.Error(new VmWritePhysical(new Gpa(0x5000), 4096), page));
        Assert.Equal(page, bench.Tool.Call(new VmReadPhysical(new Gpa(0x5000), 4096)).Data);
        Assert.Equal(page[17..22], bench.Tool.Call(new VmReadPhysical(new Gpa(0x5011), 5)).Data);
        byte[] seen = new byte[4096];
        Assert.True(bench.Vm.Memory.TryRead(new Gpa(0x5000), seen));
        Assert.Equal(page, seen);
    }

    [Fact]
    public void Physical_access_ignores_restrictions()
    {
        using var bench = new Bench();
        bench.Enable(EventId.PageFault);
        bench.Restrict(0x5000, PageAccess.None);
        Assert.Equal(KvmError.None, bench.Tool.Error(new VmWritePhysical(new Gpa(0x5000), 1), [42]));
        Assert.Equal([42], bench.Tool.Call(new VmReadPhysical(new Gpa(0x5000), 1)).Data);
    }

    [Theory]
    [InlineData(0x5000, 0, KvmError.InvalidArgument)]
    [InlineData(0x5000, 4097, KvmError.InvalidArgument)]
    [InlineData(0x5001, 4096, KvmError.InvalidArgument)]
    [InlineData(0x5FFF, 2, KvmError.InvalidArgument)]
    [InlineData(0x5FFF, 1, KvmError.None)]
    [InlineData(0x100000, 1, KvmError.NotFound)]
    [InlineData(-1, 1, KvmError.NotFound)]
    [InlineData(-4096, 4096, KvmError.NotFound)]
    [InlineData(0x200000, 1, KvmError.NotFound)]
    public void Physical_ranges_are_checked(long gpa, int size, KvmError expected)
    {
        using var bench = new Bench();
        bench.Vm.Memory.AddSlot(new Gpa(0x200000), 4096, isReadOnly: true); // a ROM counts as absent
        Assert.Equal(expected, bench.Tool.Error(new VmReadPhysical(new Gpa((ulong)gpa), (ushort)size)));
        Assert.Equal(expected, bench.Tool.Error(new VmWritePhysical(new Gpa((ulong)gpa), (ushort)size), new byte[size]));
    }

    [Fact]
    public void Physical_access_refuses_dirty_padding()
    {
        using var bench = new Bench();
        foreach (int offset in Enumerable.Range(10, 6))
        {
            Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VmReadPhysical(new Gpa(0), 1), offset));
            byte[] write = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 99];
            write[offset] = 0x80;
            bench.Tool.PostRaw(7, write);
            Assert.Equal(KvmError.InvalidArgument, bench.Tool.ReceiveReply(MessageId.VmWritePhysical, bench.Tool.LastSeq).Error);
        }
    }

    [Fact]
    public void Max_gfn_is_the_end_of_writable_memory()
    {
        using var bench = new Bench();
        bench.Vm.Memory.AddSlot(new Gpa(0x900000), 4096, isReadOnly: true);
        Assert.Equal(256ul, bench.Tool.Call(default(VmGetMaxGfn)).As<VmGetMaxGfnReply>().Gfn.Value);
    }

    [Fact]
    public void Control_cleanup_checks_its_padding_and_flag()
    {
        using var bench = new Bench();
        Assert.Equal(KvmError.None, bench.Tool.Error(new VmControlCleanup(true)));
        Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VmControlCleanup(true), 0, 2));
        foreach (int offset in Enumerable.Range(1, 7))
            Assert.Equal(KvmError.InvalidArgument, bench.Tool.Dirty(new VmControlCleanup(true), offset));
        Assert.Equal(KvmError.None, bench.Tool.Error(new VmControlCleanup(false)));
    }

    [Fact]
    public void Short_commands_are_completed_with_zeros_and_long_ones_cut()
    {
        using var bench = new Bench();
        bench.Tool.PostRaw((ushort)MessageId.VmControlEvents, []); // UNHOOK off
        Assert.Equal(KvmError.None, bench.Tool.ReceiveReply(MessageId.VmControlEvents, bench.Tool.LastSeq).Error);
        bench.Tool.PostRaw((ushort)MessageId.VmCheckCommand, [4]); // VM_GET_INFO
        Assert.Equal(KvmError.None, bench.Tool.ReceiveReply(MessageId.VmCheckCommand, bench.Tool.LastSeq).Error);
        byte[] tooLong = new byte[8184];
        tooLong.AsSpan(8).Fill(0xFF);
        tooLong[0] = 4;
        bench.Tool.PostRaw((ushort)MessageId.VmCheckCommand, tooLong);
        Assert.Equal(KvmError.None, bench.Tool.ReceiveReply(MessageId.VmCheckCommand, bench.Tool.LastSeq).Error);
        bench.Tool.PostRaw((ushort)MessageId.GetVersion, tooLong);
        Assert.Equal(KvmError.None, bench.Tool.ReceiveReply(MessageId.GetVersion, bench.Tool.LastSeq).Error);
    }

    [Fact]
    public void Page_access_is_recorded_and_shot_down_only_when_it_gets_tighter()
    {
        using var bench = new Bench();
        Assert.Equal(KvmError.None, Set(bench, new(new Gpa(0x1FFF), PageAccess.Read), new(new Gpa(0x2000), PageAccess.None)));
        Assert.Equal(PageAccess.Read, bench.Vm.AccessMap[new Gfn(1)]);
        Assert.Equal(PageAccess.None, bench.Vm.AccessMap[new Gfn(2)]);
        Assert.Equal(1, bench.Vm.Invalidations); // one for the batch
        Assert.Equal(KvmError.None, Set(bench, new(new Gpa(0x1000), PageAccess.All), new(new Gpa(0x2000), PageAccess.Read)));
        Assert.Equal(PageAccess.All, bench.Vm.AccessMap[new Gfn(1)]);
        Assert.Equal(1, bench.Vm.AccessMap.RestrictedFrames);
        Assert.Equal(1, bench.Vm.Invalidations); // nothing got tighter
        Assert.Equal(KvmError.None, Set(bench, new PageAccessEntry(new Gpa(0x2000), PageAccess.Write)));
        Assert.Equal(PageAccess.Write, bench.Vm.AccessMap[new Gfn(2)]);
        Assert.Equal(2, bench.Vm.Invalidations); // read was taken away
        Assert.Equal(KvmError.None, Set(bench));
        Assert.Equal(2, bench.Vm.Invalidations);
    }

    [Fact]
    public void Every_entry_is_applied_and_the_first_error_reported()
    {
        using var bench = new Bench();
        Assert.Equal(KvmError.InvalidArgument, Set(
            bench,
            new(new Gpa(0x1000), PageAccess.Read),
            new(new Gpa(0x40000000), PageAccess.Read, visible: true),
            new(new Gpa(0x2000), (PageAccess)8),
            new(new Gpa(0x3000), PageAccess.Execute)));
        Assert.Equal(PageAccess.Read, bench.Vm.AccessMap[new Gfn(1)]);
        Assert.Equal(PageAccess.All, bench.Vm.AccessMap[new Gfn(2)]);
        Assert.Equal(PageAccess.Execute, bench.Vm.AccessMap[new Gfn(3)]);
        Assert.Equal(2, bench.Vm.AccessMap.RestrictedFrames);
    }

    [Fact]
    public void A_page_without_memory_is_skipped_unless_it_must_be_visible()
    {
        using var bench = new Bench();
        foreach (ulong gpa in new[] { 0x100000UL, 1UL << 40, 1UL << 51, ulong.MaxValue })
        {
            Assert.Equal(KvmError.None, Set(bench, new PageAccessEntry(new Gpa(gpa), PageAccess.None, visible: false)));
            Assert.Equal(KvmError.InvalidArgument, Set(bench, new PageAccessEntry(new Gpa(gpa), PageAccess.None, visible: true)));
        }

        Assert.Equal(0, bench.Vm.AccessMap.RestrictedFrames);
    }

    [Fact]
    public void Restrictions_survive_the_slot()
    {
        using var bench = new Bench();
        MemorySlot slot = bench.Vm.Memory.AddSlot(new Gpa(0x800000), 8192);
        bench.Restrict(0x801000, PageAccess.Read);
        bench.Vm.Memory.RemoveSlot(slot);
        Assert.Equal(PageAccess.Read, bench.Vm.AccessMap[new Gfn(0x801)]);
        bench.Vm.Memory.AddSlot(new Gpa(0x800000), 8192);
        Assert.Equal(PageAccess.Read, bench.Vm.AccessMap[new Gfn(0x801)]);
    }

    [Fact]
    public void Padding_and_missing_entries_apply_nothing()
    {
        using var bench = new Bench();
        PageAccessEntry[] entries = [new(new Gpa(0x1000), PageAccess.None), new(new Gpa(0x2000), PageAccess.None)];
        byte[] payload = new byte[8 + 32];
        payload[0] = 2;
        MemoryMarshal.AsBytes(entries.AsSpan()).CopyTo(payload.AsSpan(8));
        foreach (int offset in Enumerable.Range(2, 6))
        {
            byte[] dirty = [.. payload];
            dirty[offset] = 1;
            Assert.Equal(KvmError.InvalidArgument, Raw(dirty));
        }

        for (int length = 1; length < payload.Length; length++)
            Assert.Equal(KvmError.InvalidArgument, Raw(payload[..length]));
        Assert.Equal(KvmError.InvalidArgument, Raw([]));
        Assert.Equal(KvmError.None, Raw(new byte[8])); // zero entries
        Assert.Equal(0, bench.Vm.AccessMap.RestrictedFrames);
        foreach (int offset in Enumerable.Range(10, 6)) // padding of the first entry: the second one is applied
        {
            byte[] dirty = [.. payload];
            dirty[8 + offset] = 1;
            Assert.Equal(KvmError.InvalidArgument, Raw(dirty));
        }

        payload[8 + 9] = 2; // visible
        Assert.Equal(KvmError.InvalidArgument, Raw(payload));
        Assert.Equal(PageAccess.All, bench.Vm.AccessMap[new Gfn(1)]);
        Assert.Equal(PageAccess.None, bench.Vm.AccessMap[new Gfn(2)]);

        KvmError Raw(byte[] bytes)
        {
            bench.Tool.PostRaw((ushort)MessageId.VmSetPageAccess, bytes);
            return bench.Tool.ReceiveReply(MessageId.VmSetPageAccess, bench.Tool.LastSeq).Error;
        }
    }

    [Fact]
    public void A_full_batch_is_taken()
    {
        using var bench = new Bench();
        var entries = new PageAccessEntry[KvmiConstants.MaxPageAccessEntries];
        for (int i = 0; i < entries.Length; i++)
            entries[i] = new PageAccessEntry(new Gpa((ulong)(i % 256) << 12), i < 256 ? PageAccess.Read : PageAccess.All);
        Assert.Equal(KvmError.None, Set(bench, entries));
        Assert.Equal(1, bench.Vm.Invalidations);
        Assert.Equal(1, bench.Vm.AccessMap.RestrictedFrames); // 511 = 256 + 255
    }

    private static KvmError Set(Bench bench, params PageAccessEntry[] entries) =>
        bench.Tool.Error(new VmSetPageAccess((ushort)entries.Length), MemoryMarshal.AsBytes(entries.AsSpan()));
}
