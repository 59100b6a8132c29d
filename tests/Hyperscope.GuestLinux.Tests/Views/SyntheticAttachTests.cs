using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Attaching to a guest that a test made up.</summary>
public sealed class SyntheticAttachTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(KallsymsEra.Linux515, 0UL)]
    [InlineData(KallsymsEra.Linux61, 0x1f000000UL)]
    [InlineData(KallsymsEra.Linux62, 0x200000UL)]
    [InlineData(KallsymsEra.Linux64, 0x5600000UL)]
    [InlineData(KallsymsEra.Linux615, 0x5600000UL)]
    public async Task A_moved_kernel_is_found_from_user_mode(KallsymsEra era, ulong slide)
    {
        var synthetic = new SyntheticGuest(era, slide);
        LinuxGuest guest = await synthetic.AttachAsync();
        Assert.Equal(((long)slide, "6.1.0-made-up", new Gpa(SyntheticGuest.TextGpa), new Gpa(SyntheticGuest.PageTableGpa)),
            (guest.Layout.Slide, guest.Release, guest.Layout.PhysicalText, guest.Layout.PageTable));
        Assert.Equal(new Gva(SyntheticGuest.DirectMap), guest.Layout.DirectMap);
        Assert.Equal(0x1ff000UL, guest.Layout.Text.Length);
        Assert.Equal(SyntheticGuest.Pids - 1, (await guest.ProcessesAsync(Cancel)).Count);
        Assert.Equal(10, (await guest.SyscallsAsync(Cancel)).Count);
    }

    [Fact]
    public async Task A_vcpu_that_has_not_started_is_passed_over()
    {
        var synthetic = new SyntheticGuest();
        LinuxGuest guest = await synthetic.AttachAsync(default, synthetic.InKernel with { Cr3 = 0x3000 }, synthetic.InUserMode);
        Assert.True(guest.HasBtf);
    }

    [Fact]
    public async Task Without_types_symbols_and_tables_still_work()
    {
        LinuxGuest guest = await new SyntheticGuest(hasBtf: false).AttachAsync();
        Assert.False(guest.HasBtf);
        Assert.True(guest.Symbols.TryAddressOf("init_task", out _));
        Assert.Equal(10, (await guest.SyscallsAsync(Cancel)).Count);
        LinuxGuestException missing = await Assert.ThrowsAsync<LinuxGuestException>(() => guest.ProcessesAsync(Cancel));
        Assert.Contains("CONFIG_DEBUG_INFO_BTF", missing.Message, StringComparison.Ordinal);
        Assert.Contains("system call table and IDT still work", missing.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_no_linux_is_named()
    {
        var synthetic = new SyntheticGuest();
        Assert.Contains(
            "none of 1 vCPUs runs in long mode", (await Assert.ThrowsAsync<LinuxGuestException>(() => synthetic.AttachAsync(default(VcpuStart)))).Message,
            StringComparison.Ordinal);
        Assert.Contains(
            "map 0x0 bytes", (await Assert.ThrowsAsync<LinuxGuestException>(() => synthetic.AttachAsync(synthetic.InKernel with { Cr3 = 0x5000 }))).Message,
            StringComparison.Ordinal);
        synthetic.Memory.Bytes.AsSpan((int)SyntheticGuest.RodataGpa, 0x100000).Clear();
        Assert.Contains("no symbol table", (await Assert.ThrowsAsync<LinuxGuestException>(() => synthetic.AttachAsync())).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_damaged_guest_throws_only_what_is_documented()
    {
        var whole = new SyntheticGuest();
        byte[] bytes = [.. whole.Memory.Bytes];
        int seed = Environment.TickCount;
        var random = new Random(seed);
        (int From, int Length)[] parts =
        [
            ((int)SyntheticGuest.RodataGpa, 0x30000), ((int)SyntheticGuest.DataGpa, 0x3000), (0x20000, 0x10000), ((int)SyntheticGuest.PageTableGpa, 0x1000),
            ((int)SyntheticGuest.TaskGpa, SyntheticGuest.Pids * 0x1000), (0x1f00000, 0x1000),
        ];
        for (int round = 0; round < 150; round++)
        {
            for (int flips = random.Next(1, 40); flips > 0; flips--)
            {
                (int from, int length) = parts[random.Next(parts.Length)];
                int at = from + (random.Next(length) & ~7);
                whole.Memory.Write((ulong)at, random.Next(3) switch
                {
                    0 => (ulong)random.NextInt64(),
                    1 => BitConverter.ToUInt64(bytes, (from + random.Next(length)) & ~7),
                    _ => SyntheticGuest.Direct((ulong)random.Next(32 << 20)),
                });
            }

            try
            {
                LinuxGuest guest = await whole.AttachAsync();
                _ = await guest.ProcessesAsync(Cancel);
                _ = await guest.SyscallsAsync(Cancel);
                foreach (LinuxProcess process in (await guest.ProcessesAsync(Cancel)).Take(3))
                    _ = await guest.ThreadsAsync(process, Cancel);
            }
            catch (LinuxGuestException)
            {
                // As documented.
            }
            catch (Exception failure) when (failure is not OperationCanceledException)
            {
                throw new InvalidOperationException($"seed {seed}, round {round}", failure);
            }

            bytes.CopyTo(whole.Memory.Bytes, 0);
        }
    }
}
