using Hyperscope.Vm;

namespace Hyperscope.Boot.Tests;

/// <summary>memtest86+ tests the memory of a machine for which nobody wrote it.</summary>
public sealed class MemtestTests
{
    // 5 MB is the least that makes it test its own memory as well: it moves itself out of the way for each half.
    private const ulong MemoryBytes = 5UL << 20;

    // About 20 seconds of CPU time.
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Memtest_completes_its_first_pass_without_an_error()
    {
        // The last test of a pass looks twice, 80 seconds apart, whether bits fade.
        using var clock = new HurriedClock(factor: 50);
        var serial = new SerialLog();
        await using var vm = new VirtualMachine(new VirtualMachineOptions { MemoryBytes = MemoryBytes, SerialOutput = serial, Clock = clock });
        BootImage image = ImageLoader.LoadKernel(File.ReadAllBytes(DebianFiles.Memtest), new LinuxBootOptions
        {
            Memory = vm.MemoryMap,
            CommandLine = "console=ttyS0,115200 keyboard=legacy nosmp",
            Rsdp = AcpiTables.RsdpAddress,
        });
        vm.Load(image.With(AcpiTables.Build(1)));
        vm.Start();
        Task passed = serial.Contains("Pass:  1"), failed = serial.Contains("FAIL");
        try
        {
            await Task.WhenAny(passed, failed, vm.Completion).WaitAsync(Patience, Cancel);
        }
        catch (TimeoutException)
        {
            Assert.Fail($"no pass within {Patience}; console:\n{Tail(serial)}");
        }

        Assert.True(passed.IsCompletedSuccessfully, $"it failed or ended; console:\n{Tail(serial)}");
        foreach (string errors in serial.Text.Split("Errors: ").Skip(1).Select(static rest => rest.Split(' ', '\e')[0]))
            Assert.Equal("0", errors);
        Assert.Contains("#10 [Bit fade test, 2 patterns]", serial.Text, StringComparison.Ordinal);

        // The serial console is a copy of the screen, made now and then.
        Assert.Contains("Pass:  1", Screen(vm), StringComparison.Ordinal);
    }

    private static string Tail(SerialLog serial) => serial.Text[^Math.Min(serial.Text.Length, 3000)..];

    // 80 columns, 25 lines, a character and its colours each.
    private static string Screen(VirtualMachine vm)
    {
        byte[] cells = new byte[80 * 25 * 2];
        Assert.True(vm.Memory.TryRead(new Gpa(0xb8000), cells));
        return new string([.. cells.Where(static (_, index) => index % 2 == 0).Select(static cell => (char)cell)]);
    }
}
