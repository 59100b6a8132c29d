using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Finding and reading kallsyms, in every layout.</summary>
public sealed class KallsymsTests
{
    private const ulong Base = 0xffffffff9a000000, DataStart = 0xffffffff9b000000, End = 0xffffffffc0000000;

    public static TheoryData<KallsymsEra> Eras => [.. Enum.GetValues<KallsymsEra>()];

    [Theory]
    [MemberData(nameof(Eras))]
    public void All_symbols_are_found_among_other_data(KallsymsEra era)
    {
        List<(ulong Address, char Type, string Name)> expected = Symbols(era, 1500);
        KernelSymbols symbols = Find(Surround(KallsymsBuilder.Build(era, expected, Base), 1));
        Assert.Equal(expected, symbols.All().Select(static symbol => (symbol.Address.Value, symbol.Type, symbol.Name)));
        foreach ((ulong address, char type, string name) in expected)
            Assert.Contains(new KernelSymbol(new Gva(address), type, name), symbols.AllNamed(name));
    }

    [Theory]
    [InlineData(256)]
    [InlineData(257)]
    [InlineData(511)]
    [InlineData(512)]
    [InlineData(513)]
    [InlineData(767)]
    [InlineData(1023)]
    public void Any_number_of_symbols_will_do(int count)
    {
        foreach (KallsymsEra era in Enum.GetValues<KallsymsEra>())
        {
            List<(ulong Address, char Type, string Name)> expected = Symbols(era, count);
            if (expected.Count < 512)
                continue; // fewer than two markers are no proof
            Assert.Equal(expected.Count, Find(Surround(KallsymsBuilder.Build(era, expected, Base), count)).Count);
        }
    }

    [Theory]
    [MemberData(nameof(Eras))]
    public void An_address_has_the_symbol_before_it(KallsymsEra era)
    {
        List<(ulong Address, char Type, string Name)> expected = Symbols(era, 1000);
        KernelSymbols symbols = Find(Surround(KallsymsBuilder.Build(era, expected, Base), 2));
        int first = expected.FindIndex(static symbol => symbol.Address >= Base);
        Assert.True(symbols.TryFind(new Gva(expected[first + 10].Address + 3), out SymbolOffset found));
        Assert.Equal((expected[first + 10].Name, 3UL, 16UL), (found.Symbol.Name, found.Offset, found.Size));
        Assert.Equal($"{expected[first + 10].Name}+0x3", symbols.Describe(new Gva(expected[first + 10].Address + 3)));
        Assert.False(symbols.TryFind(new Gva(Base - 1), out _));
        Assert.False(symbols.TryFind(new Gva(0x1000), out _)); // an offset of per-CPU data is no address
        Assert.False(symbols.TryFind(new Gva(expected[^1].Address + 0x2000), out _));
        Assert.Equal(
            expected.Skip(first + 5).Take(20).Where(static symbol => symbol.Type is 'T' or 't').Select(static symbol => symbol.Name),
            symbols.InRange(new Gva(expected[first + 5].Address), new Gva(expected[first + 25].Address), "Tt").Select(static symbol => symbol.Name));
    }

    [Fact]
    public void A_name_that_several_have_gives_all_in_order()
    {
        List<(ulong Address, char Type, string Name)> expected = Symbols(KallsymsEra.Linux61, 1000);
        KernelSymbols symbols = Find(Surround(KallsymsBuilder.Build(KallsymsEra.Linux61, expected, Base), 3));
        Assert.Equal(expected.Where(static symbol => symbol.Name == "init_once").Select(static symbol => symbol.Address), symbols.AllNamed("init_once").Select(static symbol => symbol.Address.Value));
        Assert.True(symbols.AllNamed("init_once").Count > 10);
        Assert.Empty(symbols.AllNamed("no_such_thing"));
        Assert.Contains("no symbol nothing_here", Assert.Throws<LinuxGuestException>(() => symbols.AddressOf("nothing_here")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Data_without_tables_has_none()
    {
        byte[] noise = new byte[1 << 20];
        new Random(5).NextBytes(noise);
        Assert.Null(KallsymsScanner.Find(noise, DataStart, Base, End));
        Assert.Null(KallsymsScanner.Find(new byte[1 << 20], DataStart, Base, End));
    }

    [Theory]
    [MemberData(nameof(Eras))]
    public void Damaged_tables_give_nothing_or_symbols_but_no_failure(KallsymsEra era)
    {
        byte[] whole = Surround(KallsymsBuilder.Build(era, Symbols(era, 700), Base), 4);
        int seed = Environment.TickCount;
        var random = new Random(seed);
        try
        {
            for (int round = 0; round < 300; round++)
            {
                byte[] damaged = [.. whole];
                for (int flips = random.Next(1, 20); flips > 0; flips--)
                    damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
                if (KallsymsScanner.Find(damaged.AsSpan(0, random.Next(4096, damaged.Length + 1)), DataStart, Base, End) is not { } tables)
                    continue;
                var symbols = new KernelSymbols(tables);
                foreach (KernelSymbol symbol in symbols.All())
                    symbols.TryFind(symbol.Address, out _);
                symbols.TryGet("init_once", out _);
            }
        }
        catch (Exception failure)
        {
            throw new InvalidOperationException($"seed {seed}", failure);
        }
    }

    [Fact]
    public void Memory_full_of_near_misses_is_given_up_on()
    {
        // Token tables one after the other, each with something like markers before it, and never any names.
        byte[] one = KallsymsBuilder.Build(KallsymsEra.Linux61, Symbols(KallsymsEra.Linux61, 700), Base);
        byte[] hostile = new byte[4 << 20];
        for (int at = 0; at + one.Length <= hostile.Length; at += one.Length)
        {
            one.CopyTo(hostile, at);
            hostile.AsSpan(at, one.Length / 2).Fill(1);
        }

        Assert.Null(KallsymsScanner.Find(hostile, DataStart, Base, End));
    }

    internal static List<(ulong Address, char Type, string Name)> Symbols(KallsymsEra era, int count)
    {
        var symbols = new List<(ulong, char, string)>();
        if (era != KallsymsEra.Linux615)
        {
            for (int i = 0; i < 20; i++)
                symbols.Add(((ulong)i * 64, 'A', $"per_cpu_thing_{i}"));
        }

        for (int i = symbols.Count; i < count; i++)
        {
            string name = i % 50 == 7 ? "init_once" : i % 3 == 0 ? $"__x64_sys_call_number_{i}" : $"function_of_net_{i * 7919}";
            if (i % 211 == 100 && era != KallsymsEra.Linux515)
                name = $"long_{i}_{new string('Q', 300)}";
            symbols.Add((Base + (ulong)(i - 20) * 16 + 320, "TtDdrRbW"[i % 8], name));
        }

        return symbols;
    }

    internal static KernelSymbols Find(byte[] data) => new(Assert.IsType<KallsymsTables>(KallsymsScanner.Find(data, DataStart, Base, End)));

    private static byte[] Surround(byte[] tables, int seed)
    {
        var random = new Random(seed);
        byte[] before = new byte[8 * random.Next(1000, 3000)], after = new byte[8 * random.Next(100, 3000)];
        random.NextBytes(before);
        random.NextBytes(after);
        return [.. before, .. tables, .. after];
    }
}
