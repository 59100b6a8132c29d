using System.Runtime.InteropServices;

namespace Hyperscope.Kvmi.Tests;

/// <summary>Messages beyond v9 against bytes written by hand.</summary>
public sealed class ExtensionVectorTests
{
    private static readonly Dictionary<string, Func<byte[]>> Built = new()
    {
        ["req.VmSetWatches"] = () => Command(new VmSetWatches(2), MemoryMarshal.AsBytes<WatchEntry>(
        [
            new(new Gpa(0x1_0000_1008), 16, PageAccess.Write | PageAccess.Execute), new(new Gpa(0x2000), 1, PageAccess.None),
        ]).ToArray()),
        ["req.VmGetWatchInfo"] = () => Command(default(VmGetWatchInfo)),
        ["rpl.VmGetWatchInfo"] = () => Reply(MessageId.VmGetWatchInfo, new VmGetWatchInfoReply(3, 0x1000, (ulong)WatchBudget.Limit, 7, 2)),
        ["ev.Cpuid"] = () => Bytes(new CpuidEvent(13, 1, 2)),
        ["ev.CreateVcpu"] = () => [],
        ["ev.Access"] = () => Bytes(Access()),
        ["evrpl.Access"] = () => Bytes(AccessReply()),
    };

    public static TheoryData<string> Names => [.. LibkvmiVectors.Extensions.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void What_the_structs_say_is_what_the_bytes_show(string name) =>
        Assert.Equal(Convert.ToHexString(LibkvmiVectors.Extensions[name]), Convert.ToHexString(Built[name]()));

    [Fact]
    public void Every_extension_has_golden_bytes_and_a_row()
    {
        List<string> wanted = [];
        foreach (CommandInfo info in CommandCatalog.Extensions)
        {
            wanted.Add($"req.{info.Id}");
            if (info.ReplyDataSize != 0)
                wanted.Add($"rpl.{info.Id}");
            Assert.True(CommandCatalog.TryGet(info.Id, out CommandInfo found) && found == info, $"{info.Id}");
        }

        foreach (EventInfo info in EventCatalog.Extensions)
        {
            wanted.Add($"ev.{info.Id}");
            if (info.ReplyDataSize != 0)
                wanted.Add($"evrpl.{info.Id}");
            Assert.Equal(info.ReplyDataSize, Dialect.V9.EventReplyDataLimit(info.Id));
        }

        Assert.Equal(Built.Keys.Order(), LibkvmiVectors.Extensions.Keys.Order());
        Assert.Empty(wanted.Except(Built.Keys));
        Assert.Equal(
            Enum.GetValues<MessageId>().Count(id => (int)id >= KvmiConstants.FirstExtensionId), CommandCatalog.Extensions.Length);
        Assert.Equal(Enum.GetValues<EventId>().Count(id => (int)id >= KvmiConstants.FirstExtensionId), EventCatalog.Extensions.Length);
    }

    [Fact]
    public void Dirty_padding_is_refused()
    {
        AssertPadding<VmSetWatches>("req.VmSetWatches", 8, [4, 5, 6, 7]);
        AssertPadding<WatchEntry>("req.VmSetWatches", 16, [13, 14, 15]);
        AssertPadding<AccessEvent>("ev.Access", 0, [22, 23]);
        Assert.False(new WatchEntry(default, 0, PageAccess.Write).IsWellFormed);
        Assert.False(new WatchEntry(default, KvmiConstants.MaxWatchLength + 1, PageAccess.Write).IsWellFormed);
        Assert.True(new WatchEntry(default, KvmiConstants.MaxWatchLength, PageAccess.Write).IsWellFormed);
        Assert.False(new WatchEntry(default, 1, (PageAccess)8).IsWellFormed);
    }

    private static void AssertPadding<T>(string name, int offset, int[] padding)
        where T : unmanaged
    {
        System.Reflection.PropertyInfo isWellFormed = typeof(T).GetProperty("IsWellFormed")!;
        byte[] bytes = LibkvmiVectors.Extensions[name][offset..];
        Assert.Equal(true, isWellFormed.GetValue(Message.Read<T>(bytes)));
        foreach (int position in padding)
        {
            byte[] dirty = [.. bytes];
            dirty[position] = 0x40;
            Assert.True((bool)isWellFormed.GetValue(Message.Read<T>(dirty))! == false, $"{typeof(T).Name}, byte {position}");
        }
    }

    private static AccessEvent Access()
    {
        var access = new AccessEvent
        {
            Gva = new Gva(0xFFFF_FFFF_1234_5678),
            Gpa = new Gpa(0x5678),
            Access = PageAccess.Write,
            IsNewKnown = true,
            IsWatch = true,
            View = 3,
            Size = 4,
        };
        ((ReadOnlySpan<byte>)[0x11, 0x22, 0x33, 0x44]).CopyTo(access.Current);
        ((ReadOnlySpan<byte>)[0x55, 0x66, 0x77, 0x88]).CopyTo(access.New);
        return access;
    }

    private static PageFaultReply AccessReply()
    {
        var reply = new PageFaultReply
        {
            DataAddress = new Gva(0xFFFF_FFFF_1234_5678),
            DataSize = 2,
            CompletesRepeat = true,
            Discards = true,
        };
        ((ReadOnlySpan<byte>)[0xAA, 0xBB]).CopyTo(reply.Data);
        return reply;
    }

    private static byte[] Command<T>(in T command, byte[]? tail = null)
        where T : unmanaged, ICommand<T>
    {
        byte[] buffer = new byte[KvmiConstants.MaxMessageSize];
        return buffer[..Message.WriteCommand(buffer, 1, command, tail)];
    }

    private static byte[] Reply<T>(MessageId id, in T data)
        where T : unmanaged
    {
        byte[] buffer = new byte[KvmiConstants.MaxMessageSize];
        return buffer[..Message.WriteReply(buffer, id, 1, Bytes(data))];
    }

    private static byte[] Bytes<T>(in T value)
        where T : unmanaged => MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)).ToArray();
}
