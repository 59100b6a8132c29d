namespace Hyperscope.GuestLinux.Tests;

/// <summary>Reading types.</summary>
public sealed class BtfTests
{
    [Fact]
    public void Members_are_found_by_path_through_unnamed_structures()
    {
        var builder = new BtfBuilder();
        int link = builder.Struct("list_head", 16, ("next", builder.Void, 0), ("prev", builder.Void, 8));
        int inner = builder.Bits("", BtfKind.Union, 8, ("first", builder.Int32, 0, 0), ("second", builder.Int64, 0, 0));
        int middle = builder.Struct("", 24, ("before", builder.Int64, 0), ("", inner, 8), ("link", link, 8));
        builder.Struct("thing", 64, ("start", builder.Int32, 0), ("", middle, 16), ("name", builder.Array(builder.Int8, 16), 40));
        Btf btf = Btf.Parse(builder.Build());
        BtfStruct thing = btf.StructOf("thing");
        Assert.Equal((64, 16, 24, 24, 32, 40), (thing.Size, thing.Offset("before"), thing.Offset("second"), thing.Offset("link"), thing.Offset("link.prev"), thing.Offset("name")));
        Assert.Equal(16, thing.Member("name").Size);
        Assert.False(thing.Has("link.none"));
        Assert.False(thing.Has("start.none"));
        BtfSlice slice = thing.Slice("before", "link", "absent");
        Assert.Equal((16, 24), (slice.Offset, slice.Length));
        Assert.Contains("struct thing of this kernel has no member absent", Assert.Throws<LinuxGuestException>(() => thing.Offset("absent")).Message, StringComparison.Ordinal);
        Assert.Contains("no struct nothing", Assert.Throws<LinuxGuestException>(() => btf.StructOf("nothing")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Values_are_read_with_sign_and_bits()
    {
        var builder = new BtfBuilder();
        int signed = builder.Int("int", 4, isSigned: true);
        builder.Bits("packed", BtfKind.Struct, 24, ("low", builder.Int32, 0, 3), ("flag", builder.Int32, 3, 1), ("wide", builder.Int32, 5, 20),
            ("number", signed, 64, 0), ("text", builder.Array(builder.Int8, 8), 96, 0));
        BtfStruct type = Btf.Parse(builder.Build()).StructOf("packed");
        byte[] bytes = new byte[24];
        BitConverter.TryWriteBytes(bytes, 5u | 1u << 3 | 0xabcdeu << 5);
        BitConverter.TryWriteBytes(bytes.AsSpan(8), -7);
        "ab\u001b\0rest"u8.CopyTo(bytes.AsSpan(12));
        var view = new StructView(type, default, 0, bytes);
        Assert.Equal((5UL, 1UL, 0xabcdeUL), (view.Unsigned("low"), view.Unsigned("flag"), view.Unsigned("wide")));
        Assert.Equal((-3L, -7, 0xfffffff9u), (view.Signed("low"), view.Int32("number"), view.UInt32("number")));
        Assert.Equal("ab\\x1b", view.Text("text"));
        var part = new StructView(type, default, 8, bytes.AsMemory(8, 4));
        Assert.Equal(-7, part.Int32("number"));
        Assert.Contains("not inside the part", Assert.Throws<LinuxGuestException>(() => part.Unsigned("low")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Functions_and_types_print_as_c_writes_them()
    {
        var builder = new BtfBuilder();
        int thing = builder.Struct("thing", 8, ("a", builder.Int64, 0));
        int text = builder.Pointer(builder.Modifier(BtfKind.Const, builder.Int8));
        int fixedPointer = builder.Modifier(BtfKind.Const, builder.Pointer(thing));
        builder.Function("do_it", builder.Int64, ("name", text), ("what", builder.Pointer(thing)), ("both", fixedPointer), ("list", builder.Array(builder.Int32, 4)));
        BtfFunction function = Btf.Parse(builder.Build()).FunctionOf("do_it");
        Assert.Equal("unsigned long", $"{function.Result}");
        Assert.Equal(
            ["const char * name", "struct thing * what", "struct thing *const both", "unsigned int[4] list"],
            function.Parameters.Select(static parameter => $"{parameter.Type} {parameter.Name}"));
        Assert.Equal("thing", function.Parameters[1].Type.Target.Struct!.Name);
    }

    [Fact]
    public void Enumerators_have_their_values()
    {
        var builder = new BtfBuilder();
        builder.Enum("small", ("ZERO", 0), ("MINUS", -2));
        builder.Enum64("big", ("HUGE", 0x123456789abcdef0));
        Btf btf = Btf.Parse(builder.Build());
        Assert.Equal((0L, -2L, 0x123456789abcdef0L), (btf.EnumValue("ZERO"), btf.EnumValue("MINUS"), btf.EnumValue("HUGE")));
        Assert.False(btf.TryEnumValue("NONE", out _));
    }

    [Fact]
    public void Types_that_lead_in_circles_end()
    {
        var builder = new BtfBuilder();
        int next = builder.Void;
        int loop = builder.Raw("loop", (uint)BtfKind.Typedef << 24, (uint)next + 1); // itself
        Assert.Equal(next + 1, loop);
        var many = Enumerable.Repeat(("", loop + 1, 0), 1000).ToArray(); // a structure of 1000 unnamed ones of its own kind
        builder.Struct("nest", 8, many);
        Btf btf = Btf.Parse(builder.Build());
        Assert.Equal(0, btf.TypeOf(loop).Size);
        Assert.Equal("loop", $"{btf.TypeOf(loop)}");
        Assert.False(btf.StructOf("nest").Has("anything"));
    }

    [Theory]
    [InlineData("", "do not start with a header")]
    [InlineData("9feb0200180000000000000000000000000000000100000000", "version 2")]
    [InlineData("9feb0100180000000000000000000000000000000000000000", "not inside its")]
    [InlineData("9feb010018000000000000000c000000000000000100000000", "not inside its")]
    [InlineData("9feb01001800000000000000080000000800000001000000000000000000000000", "cut off")]
    [InlineData("9feb010018000000000000000c0000000c00000001000000000000000000001f0000000000", "unknown or runs past")]
    public void Damage_is_named(string hex, string message) =>
        Assert.Contains(message, Assert.Throws<LinuxGuestException>(() => Btf.Parse(Convert.FromHexString(hex))).Message, StringComparison.Ordinal);

    [Fact]
    public void A_name_is_no_longer_than_a_kernel_takes()
    {
        // Each type's name would otherwise be what is left of the strings, all of them megabytes.
        var builder = new BtfBuilder();
        builder.Int(new string('x', 511), 4);
        builder.Int(new string('y', 512), 4);
        Btf btf = Btf.Parse(builder.Build());
        Assert.True(btf.TryTypeNamed(new string('x', 511), out BtfType known));
        Assert.Equal("", btf.TypeOf(known.Id + 1).Name);
    }

    [Fact]
    public void Damaged_types_throw_only_what_is_documented()
    {
        byte[] whole = new SyntheticTypes().Build();
        int seed = Environment.TickCount;
        var random = new Random(seed);
        try
        {
            for (int round = 0; round < 1000; round++)
            {
                byte[] damaged = [.. whole];
                for (int flips = random.Next(1, 30); flips > 0; flips--)
                    damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
                try
                {
                    Btf btf = Btf.Parse(damaged.AsMemory(0, random.Next(10) == 0 ? random.Next(damaged.Length) : damaged.Length));
                    for (int id = 0; id < btf.Count; id++)
                    {
                        _ = $"{btf.TypeOf(id)} {btf.TypeOf(id).Size} {btf.TypeOf(id).Enumerators.Count}";
                        btf.TypeOf(id).Struct?.TryMember("tasks.next", out _);
                    }

                    btf.TryFunctionOf("do_it", out _);
                    btf.TryEnumValue("NONE", out _);
                    btf.StructOf("task_struct").Slice("pid", "comm", "tasks");
                }
                catch (LinuxGuestException)
                {
                    continue;
                }
            }
        }
        catch (Exception failure) when (failure is not LinuxGuestException)
        {
            throw new InvalidOperationException($"seed {seed}", failure);
        }
    }
}
