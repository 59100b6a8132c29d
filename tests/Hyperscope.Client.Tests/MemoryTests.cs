using CsCheck;
using Hyperscope.TestKit;

namespace Hyperscope.Client.Tests;

/// <summary>Memory of any length, over commands that move a page.</summary>
public sealed class MemoryTests
{
    private const int GuestSize = 16 * 4096;
    private const ulong Hole = 9; // a frame without memory

    [Fact]
    public async Task Any_range_reads_like_the_guests_memory()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        byte[] guest = [.. Enumerable.Range(0, GuestSize).Select(static i => (byte)(i * 7 + (i >> 8)))];
        Task serving = ServeAsync(hooked, guest);

        await Gen.Select(Gen.Int[0, GuestSize], Gen.Int[0, 5 * 4096]).SampleAsync(
            async (start, length) =>
            {
                byte[] buffer = new byte[length];
                int read = await hooked.Vm.TryReadPhysicalAsync(new Gpa((ulong)start), buffer, Hooked.Cancel);
                int expected = Math.Min(length, Readable(start));
                return read == expected && buffer.AsSpan(0, read).SequenceEqual(guest.AsSpan(start, read));
            },
            iter: 200,
            threads: 1);

        await hooked.Vm.DisposeAsync();
        await serving;
    }

    [Fact]
    public async Task Any_range_is_written_where_it_belongs()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        byte[] guest = new byte[GuestSize];
        Task serving = ServeAsync(hooked, guest);
        byte[] data = [.. Enumerable.Range(1, 3 * 4096).Select(static i => (byte)(i | 1))];

        await hooked.Vm.WritePhysicalAsync(new Gpa(0x1FFF), data, Hooked.Cancel);
        byte[] back = await hooked.Vm.ReadPhysicalAsync(new Gpa(0x1FFF), data.Length, Hooked.Cancel);

        Assert.Equal(data, back);
        Assert.Equal(0, guest[0x1FFE]);
        Assert.Equal(0, guest[0x1FFF + data.Length]);
        await hooked.Vm.DisposeAsync();
        await serving;
    }

    [Fact]
    public async Task A_hole_ends_a_tried_read_and_fails_a_demanded_one_by_its_address()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        Task serving = ServeAsync(hooked, new byte[GuestSize]);
        byte[] buffer = new byte[3 * 4096];

        Assert.Equal(0x1800, await hooked.Vm.TryReadPhysicalAsync(new Gpa(0x7800), buffer, Hooked.Cancel));
        KvmiException missing = await Assert.ThrowsAsync<KvmiException>(
            async () => await hooked.Vm.ReadPhysicalAsync(new Gpa(0x7800), buffer, Hooked.Cancel));
        Assert.Equal(KvmError.NotFound, missing.Error);
        Assert.Contains("6144 bytes at gpa 0x9000", missing.Message, StringComparison.Ordinal);
        Assert.Equal(0x1800, await hooked.Vm.TryWritePhysicalAsync(new Gpa(0x7800), buffer, Hooked.Cancel));

        await hooked.Vm.DisposeAsync();
        await serving;
    }

    [Fact]
    public async Task Virtual_memory_is_read_and_written_page_by_page_through_the_translation()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        byte[] guest = [.. Enumerable.Range(0, GuestSize).Select(static i => (byte)(i >> 4))];
        Task serving = ServeAsync(hooked, guest);
        var start = new Gva(Virtual + 0x2800);
        byte[] buffer = new byte[0x2000];

        await hooked.Vm.Vcpus[0].ReadVirtualAsync(start, buffer, Hooked.Cancel); // frames 2, 3, 4 backwards
        Assert.Equal(guest[(Physical(2) + 0x800)..(Physical(2) + 0x1000)], buffer[..0x800]);
        Assert.Equal(guest[Physical(3)..(Physical(3) + 0x1000)], buffer[0x800..0x1800]);
        Assert.Equal(guest[Physical(4)..(Physical(4) + 0x800)], buffer[0x1800..]);

        await hooked.Vm.Vcpus[0].WriteVirtualAsync(start, new byte[0x1000], Hooked.Cancel);
        Assert.Equal(new byte[0x800], guest[Physical(3)..(Physical(3) + 0x800)]);

        var end = new Gva(Virtual + 0x7F00);
        Assert.Equal(0x100, await hooked.Vm.Vcpus[0].TryReadVirtualAsync(end, buffer, Hooked.Cancel));
        KvmiException unmapped = await Assert.ThrowsAsync<KvmiException>(
            async () => await hooked.Vm.Vcpus[0].ReadVirtualAsync(end, buffer, Hooked.Cancel));
        Assert.Contains("at gva 0xffff800000008000", unmapped.Message, StringComparison.Ordinal);

        await hooked.Vm.DisposeAsync();
        await serving;
    }

    [Fact]
    public async Task A_range_past_the_end_of_the_address_space_is_refused()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(
            async () => await hooked.Vm.TryReadPhysicalAsync(new Gpa(ulong.MaxValue), new byte[2], Hooked.Cancel));
    }

    [Fact]
    public async Task Page_access_goes_out_in_full_messages_at_once()
    {
        await using Hooked hooked = await Hooked.StartAsync(new IntrospectionOptions { RememberPageAccess = true });
        Task setting = hooked.Vm.SetPageAccessAsync(new Gfn(0x100), 1200, PageAccess.Read, Hooked.Cancel).AsTask();
        ReceivedMessage[] messages = [.. Enumerable.Range(0, 3).Select(_ => hooked.Hypervisor.Expect(MessageId.VmSetPageAccess))];
        Assert.Equal([511, 511, 178], messages.Select(static m => (int)m.As<VmSetPageAccess>().Count));
        Assert.Equal(
            Enumerable.Range(0x100, 1200).Select(static gfn => (ulong)gfn),
            messages.SelectMany(static m => Enumerable.Range(0, m.As<VmSetPageAccess>().Count)
                .Select(i => Message.Read<PageAccessEntry>(m.Payload.AsSpan(8 + (i * 16))).Gpa.Frame.Value)));
        foreach (ReceivedMessage message in messages)
            hooked.Hypervisor.Reply(message);
        await setting.WaitAsync(Hooked.Cancel);
        Assert.Equal(1200, hooked.Vm.PageAccesses.Count);
    }

    [Fact]
    public async Task The_first_message_that_is_refused_fails_the_whole_change()
    {
        await using Hooked hooked = await Hooked.StartAsync();
        Task setting = hooked.Vm.SetPageAccessAsync(default, 600, PageAccess.Read, Hooked.Cancel).AsTask();
        hooked.Hypervisor.Refuse(hooked.Hypervisor.Receive(), KvmError.InvalidArgument);
        hooked.Hypervisor.Reply(hooked.Hypervisor.Receive());
        KvmiException refused = await Assert.ThrowsAsync<KvmiException>(() => setting.WaitAsync(Hooked.Cancel));
        Assert.Contains("511 pages", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Leaving_lifts_what_was_restricted_and_asks_for_a_clean_up()
    {
        await using Hooked hooked = await Hooked.StartAsync(new IntrospectionOptions { RememberPageAccess = true });
        Task setting = hooked.Vm.SetPageAccessAsync(
            new Dictionary<Gfn, PageAccess>
            {
                [new Gfn(5)] = PageAccess.None,
                [new Gfn(3)] = PageAccess.Read,
                [new Gfn(4)] = PageAccess.All,
            },
            Hooked.Cancel).AsTask();
        hooked.Hypervisor.Reply(hooked.Hypervisor.Receive());
        await setting.WaitAsync(Hooked.Cancel);
        Assert.Equal(
            [KeyValuePair.Create(new Gfn(3), PageAccess.Read), KeyValuePair.Create(new Gfn(5), PageAccess.None)], hooked.Vm.PageAccesses);

        Task leaving = hooked.Vm.UnhookAsync(Hooked.Cancel).AsTask();
        ReceivedMessage lift = hooked.Hypervisor.Expect(MessageId.VmSetPageAccess);
        Assert.Equal(
            "0200000000000000" + "0030000000000000" + "0700000000000000" + "0050000000000000" + "0700000000000000",
            Convert.ToHexString(lift.Payload));
        hooked.Hypervisor.Reply(lift);
        hooked.Hypervisor.Reply(hooked.Hypervisor.Expect(MessageId.VmControlCleanup));
        Assert.True(hooked.Hypervisor.SeesEnd());
        await leaving.WaitAsync(Hooked.Cancel);
    }

    private const ulong Virtual = 0xFFFF800000000000;

    // Eight pages, mapped backwards: each step in virtual memory is one back in physical memory.
    private static int Physical(int page) => (7 - page) * 4096;

    private static int Readable(int start) => start < (int)Hole * 4096 ? ((int)Hole * 4096) - start
        : start < ((int)Hole + 1) * 4096 ? 0 : GuestSize - start;

    private static Task ServeAsync(Hooked hooked, byte[] guest) => Task.Factory.StartNew(
        () =>
        {
            try
            {
                while (true)
                    Serve(hooked.Hypervisor, guest);
            }
            catch (Exception ended) when (ended is EndOfStreamException or InvalidOperationException or ObjectDisposedException)
            {
                // The tool has left.
            }
        },
        Hooked.Cancel,
        TaskCreationOptions.LongRunning,
        TaskScheduler.Default);

    private static void Serve(ScriptedHypervisor hypervisor, byte[] guest)
    {
        ReceivedMessage command = hypervisor.Receive();
        if (command.Id == MessageId.VcpuTranslateGva)
        {
            ulong offset = command.As<VcpuTranslateGva>().Gva.Value - Virtual;
            Gpa? gpa = offset < 8 * 4096 ? new Gpa((ulong)Physical((int)(offset >> 12)) + (offset & 0xFFF)) : null;
            hypervisor.Reply(command, new VcpuTranslateGvaReply(gpa));
            return;
        }

        VmReadPhysical range = command.As<VmReadPhysical>(); // writes begin alike
        Assert.True(range.IsInsideOnePage);
        if (range.Gpa.Frame.Value is Hole or >= GuestSize / 4096)
        {
            hypervisor.Refuse(command, KvmError.NotFound);
        }
        else if (command.Id == MessageId.VmReadPhysical)
        {
            hypervisor.Reply(command, guest.AsSpan((int)range.Gpa.Value, range.Size));
        }
        else
        {
            command.Payload.AsSpan(16, range.Size).CopyTo(guest.AsSpan((int)range.Gpa.Value));
            hypervisor.Reply(command);
        }
    }
}
