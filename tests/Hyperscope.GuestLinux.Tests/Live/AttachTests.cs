using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>What attaching finds, against what the guest says.</summary>
public abstract class AttachTests(LiveGuest live)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Release_and_build_id_are_those_of_the_guest()
    {
        string[] lines = await live.RunAsync("uname -r; cat /proc/version; hexdump -v -e '/1 \"%02x\"' /sys/kernel/notes; echo");
        Assert.Equal(lines[0], live.Linux.Release);
        Assert.Equal(lines[1], live.Linux.Banner);
        Assert.NotEmpty(live.Linux.BuildId);
        Assert.Contains(live.Linux.BuildId, lines[2], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Memory_at_a_symbol_is_that_of_the_guest()
    {
        GuestReader reader = live.Linux.OpenMemory();
        StructView task = await reader.ReadSliceAsync(
            live.Linux.Btf.StructOf("task_struct").Slice("pid", "comm"), live.Linux.Symbols.AddressOf("init_task"), Cancel);
        Assert.Equal(0, task.Int32("pid"));
        Assert.StartsWith("swapper", task.Text("comm"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Arithmetic_and_page_walk_agree()
    {
        KernelLayout layout = live.Linux.Layout;
        GuestReader reader = live.Linux.OpenMemory();
        foreach (Gva gva in new[] { layout.Text.Start, layout.Rodata.Start, layout.Data.Start, layout.DirectMap + 0x1234567 })
            Assert.Equal(await reader.TranslateAsync(gva, Cancel), layout.PhysicalOf(gva));
        Assert.Null(await reader.TranslateAsync(new Gva(0x800000000000), Cancel));
    }

    [Fact]
    public async Task A_profile_gives_the_same_symbols_and_types()
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("hs-");
        try
        {
            var options = new LinuxGuestOptions { ProfileDirectory = folder.FullName };
            LinuxGuest first = await LinuxGuest.AttachAsync(live.Vm, options, Cancel);
            LinuxGuest second = await LinuxGuest.AttachAsync(live.Vm, options, Cancel);
            Assert.Equal((false, true), (first.IsFromProfile, second.IsFromProfile));
            Assert.Equal((first.Layout, first.BuildId, first.Banner), (second.Layout, second.BuildId, second.Banner));
            Assert.Equal(first.Btf.Count, second.Btf.Count);
            Assert.Equal(first.Symbols.All(), second.Symbols.All());
            FileInfo file = Assert.Single(folder.GetFiles());
            byte[] bytes = await File.ReadAllBytesAsync(file.FullName, Cancel);
            await File.WriteAllBytesAsync(file.FullName, bytes[..(bytes.Length / 3)], Cancel);
            LinuxGuest third = await LinuxGuest.AttachAsync(live.Vm, options, Cancel);
            Assert.False(third.IsFromProfile);
            TestContext.Current.SendDiagnosticMessage(
                $"attached in {third.AttachTime.TotalMilliseconds:f0} ms, from a profile in {second.AttachTime.TotalMilliseconds:f0} ms");
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task Attaching_again_is_quick()
    {
        LinuxGuest again = await LinuxGuest.AttachAsync(live.Vm, cancellation: Cancel);
        TestContext.Current.SendDiagnosticMessage(
            $"attached in {live.FirstAttach.TotalMilliseconds:f0} ms with cold code, {again.AttachTime.TotalMilliseconds:f0} ms warm; {again.Symbols.Layout}");
        Assert.Equal(live.Linux.Layout, again.Layout);
    }
}

/// <summary>Where nothing is moved.</summary>
public sealed class FixedAttachTests(FixedGuest live) : AttachTests(live), IClassFixture<FixedGuest>
{
    private readonly LiveGuest _live = live;

    [Fact]
    public void Nothing_is_moved() => Assert.Equal(0, _live.Linux.Layout.Slide);
}

/// <summary>With randomisation and isolated page tables.</summary>
public sealed class RandomizedAttachTests(RandomizedGuest live) : AttachTests(live), IClassFixture<RandomizedGuest>
{
    private readonly LiveGuest _live = live;

    [Fact]
    public async Task The_guest_says_that_page_tables_are_isolated() =>
        Assert.NotEmpty(await _live.RunAsync("dmesg | grep -i 'page tables isolation: enabled\\|Kernel/User page tables isolation: force'"));

    [Fact]
    public async Task Symbols_are_those_of_proc_kallsyms()
    {
        // A pass over all of it is much work for the guest, so there is one.
        string[] lines = await _live.RunAsync("awk 'NR%1999==1;END{print NR}' /proc/kallsyms");
        Assert.InRange(int.Parse(lines[^1], CultureInfo.InvariantCulture), _live.Linux.Symbols.Count, _live.Linux.Symbols.Count + 20000);
        Assert.InRange(lines.Length, 20, 200);
        foreach (string line in lines[..^1])
        {
            string[] columns = line.Split(' ', '\t');
            ulong address = ulong.Parse(columns[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            if (columns.Length > 3 || address < 0xffffffff80000000)
                continue;
            Assert.Contains(
                _live.Linux.Symbols.AllNamed(columns[2]), symbol => symbol.Address.Value == address && symbol.Type == columns[1][0]);
            Assert.True(_live.Linux.Symbols.TryFind(new Gva(address), out SymbolOffset found));
            Assert.Equal(0UL, found.Offset);
        }
    }

    // The slide is random; 0 is one of about 500 values, and physical memory moves on its own.
    [Fact]
    public void The_kernel_is_moved() =>
        Assert.True(_live.Linux.Layout.Slide != 0 || _live.Linux.Layout.PhysicalText.Value != 0x1000000, $"{_live.Linux.Layout}");
}
