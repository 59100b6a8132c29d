using System.Text;
using System.Text.Json;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>The symbol file of a kernel, read as Volatility and LibVMI read it.</summary>
public sealed class SymbolFileTests(RandomizedGuest live) : IClassFixture<RandomizedGuest>
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Types_and_symbols_are_those_of_the_guest()
    {
        LinuxGuest guest = live.Linux;
        (JsonElement file, IsfSummary summary) = await WriteAsync(guest);
        Assert.NotEqual(0, guest.Layout.Slide); // or nothing would show that addresses are those before it

        JsonElement task = file.GetProperty("user_types").GetProperty("task_struct");
        BtfStruct described = guest.Btf.StructOf("task_struct");
        Assert.Equal(described.Size, task.GetProperty("size").GetInt32());
        foreach (string member in new[] { "comm", "tasks", "mm", "pid" })
            Assert.Equal(described.Offset(member), task.GetProperty("fields").GetProperty(member).GetProperty("offset").GetInt32());
        Assert.Equal(
            """{"kind":"array","count":16,"subtype":{"kind":"base","name":"char"}}""",
            task.GetProperty("fields").GetProperty("comm").GetProperty("type").GetRawText());

        JsonElement symbol = file.GetProperty("symbols").GetProperty("init_task");
        Assert.Equal(guest.Symbols.AddressOf("init_task").Value - (ulong)guest.Layout.Slide, symbol.GetProperty("address").GetUInt64());
        Assert.Equal("""{"kind":"struct","name":"task_struct"}""", symbol.GetProperty("type").GetRawText());
        Assert.Equal(
            guest.Banner + "\n\0", Encoding.Latin1.GetString(file.GetProperty("symbols").GetProperty("linux_banner").GetProperty("constant_data").GetBytesFromBase64()));
        Assert.Equal(
            (summary.Types, summary.Enums, summary.Symbols),
            (file.GetProperty("user_types").EnumerateObject().Count(), file.GetProperty("enums").EnumerateObject().Count(),
                file.GetProperty("symbols").EnumerateObject().Count()));
        Assert.InRange(summary.Types, 5000, 50000);
    }

    [Fact]
    public async Task Whatever_a_type_refers_to_is_in_the_file()
    {
        (JsonElement file, _) = await WriteAsync(live.Linux);
        var known = new HashSet<(string, string)>();
        foreach (JsonProperty type in file.GetProperty("base_types").EnumerateObject())
            Assert.True(known.Add(("base", type.Name)));
        foreach (JsonProperty type in file.GetProperty("user_types").EnumerateObject())
            Assert.True(known.Add((type.Value.GetProperty("kind").GetString()!, type.Name)));
        foreach (JsonProperty type in file.GetProperty("enums").EnumerateObject())
        {
            Assert.True(known.Add(("enum", type.Name)));
            Assert.Contains(("base", type.Value.GetProperty("base").GetString()!), known);
        }

        int references = 0;
        var types = file.GetProperty("user_types").EnumerateObject().SelectMany(static type => type.Value.GetProperty("fields").EnumerateObject())
            .Concat(file.GetProperty("symbols").EnumerateObject());
        foreach (JsonProperty typed in types)
        {
            if (!typed.Value.TryGetProperty("type", out JsonElement type))
                continue;
            while (type.TryGetProperty("subtype", out JsonElement inner) || type.TryGetProperty("type", out inner))
                type = inner;
            string kind = type.GetProperty("kind").GetString()!;
            if (kind == "function")
                continue;
            Assert.True(known.Contains((kind, type.GetProperty("name").GetString()!)), $"{typed.Name}: {type}");
            references++;
        }

        Assert.InRange(references, 20000, 1_000_000);
    }

    [Fact]
    public async Task Bit_fields_lie_where_the_kernel_has_them()
    {
        (JsonElement file, _) = await WriteAsync(live.Linux);
        BtfMember member = live.Linux.Btf.StructOf("task_struct").Member("sched_reset_on_fork");
        JsonElement field = file.GetProperty("user_types").GetProperty("task_struct").GetProperty("fields").GetProperty("sched_reset_on_fork");
        JsonElement type = field.GetProperty("type");
        Assert.Equal(
            (member.BitOffset, member.BitSize),
            (field.GetProperty("offset").GetUInt32() * 8 + type.GetProperty("bit_position").GetUInt32(), type.GetProperty("bit_length").GetInt32()));
    }

    [Fact]
    public async Task A_kernel_without_types_has_none_to_write()
    {
        LinuxGuest guest = await new SyntheticGuest(hasBtf: false).AttachAsync();
        using var nowhere = new MemoryStream();
        LinuxGuestException missing = await Assert.ThrowsAsync<LinuxGuestException>(() => guest.WriteSymbolFileAsync(nowhere, Cancel));
        Assert.Contains("CONFIG_DEBUG_INFO_BTF", missing.Message, StringComparison.Ordinal);
    }

    private static async Task<(JsonElement File, IsfSummary Summary)> WriteAsync(LinuxGuest guest)
    {
        using var target = new MemoryStream();
        IsfSummary summary = await guest.WriteSymbolFileAsync(target, Cancel);
        using JsonDocument document = JsonDocument.Parse(target.ToArray());
        return (document.RootElement.Clone(), summary);
    }
}
