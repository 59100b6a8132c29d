using System.Text;
using System.Text.RegularExpressions;
using Hyperscope.Vm;
using Hyperscope.X64;

namespace Hyperscope.Boot.Tests;

/// <summary>A VM with Debian's kernel and busybox in it.</summary>
internal sealed partial class DebianGuest : IAsyncDisposable
{
    /// <summary>cryptomgr tests every cipher the kernel has, which triples the time of a boot and shows nothing of the machine.</summary>
    public const string CommandLine = "console=ttyS0 panic=-1 cryptomgr.notests";

    // A lost machine shows as a time-out; a slow one must not.
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(IsFull ? 20 : 3);

    /// <summary>HYPERSCOPE_BOOT=full makes the amounts of work those of a release; a default run leaves them small.</summary>
    public static bool IsFull => Environment.GetEnvironmentVariable("HYPERSCOPE_BOOT") == "full";

    private DebianGuest(VirtualMachine vm, BootImage image, SerialLog serial)
    {
        Vm = vm;
        Image = image;
        Serial = serial;
    }

    public VirtualMachine Vm { get; }

    public BootImage Image { get; }

    public SerialLog Serial { get; }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>Makes a stopped VM.</summary>
    /// <param name="vcpus">Number of vCPUs.</param>
    /// <param name="script">What runs instead of an interactive shell, or null.</param>
    /// <param name="clock">Guest time, or null: the host's.</param>
    /// <param name="entry">How the kernel is entered.</param>
    /// <param name="parameters">What is added to its command line.</param>
    /// <param name="kernelPath">Another kernel than Debian's.</param>
    /// <param name="files">What else is in its initial RAM disk.</param>
    public static DebianGuest Create(int vcpus, string? script = null, IGuestClock? clock = null, LinuxEntry entry = LinuxEntry.Auto,
        string parameters = "", string? kernelPath = null, IEnumerable<InitramfsFile>? files = null)
    {
        byte[] kernel = File.ReadAllBytes(kernelPath ?? DebianFiles.Kernel);
        byte[] initrd = DebianInitramfs.Build(File.ReadAllBytes(DebianFiles.Busybox), script, files);
        var serial = new SerialLog();
        var vm = new VirtualMachine(new VirtualMachineOptions
        {
            MemoryBytes = 512UL << 20,
            VcpuCount = vcpus,
            SerialOutput = serial,
            Clock = clock,
            WallClock = clock is null ? null : DateTimeOffset.UnixEpoch.AddYears(50),
            CpuModel = new CpuModel { RandomSeed = clock is null ? null : 1 },
        });
        MemoryPiece acpi = AcpiTables.Build(vcpus);
        BootImage image = ImageLoader.LoadKernel(kernel, new LinuxBootOptions
        {
            Memory = vm.MemoryMap,
            CommandLine = $"{CommandLine} {parameters}".TrimEnd(),
            Entry = entry,
            Initrd = initrd,
            Rsdp = AcpiTables.RsdpAddress,
        });
        vm.Load(image);
        Assert.True(vm.Memory.TryLoad(acpi.Address, acpi.Bytes.Span));
        return new DebianGuest(vm, image, serial);
    }

    /// <summary>Types on the serial console.</summary>
    public void Type(string text)
    {
        byte[] bytes = Encoding.ASCII.GetBytes(text);
        Assert.Equal(bytes.Length, Vm.Board.Serial.Feed(bytes));
    }

    public Task WaitFor(string text) => OrExplain(Serial.Contains(text), $"\"{text}\" on the console");

    /// <summary>Waits until the guest has switched itself off, and looks for complaints in its log.</summary>
    public async Task WaitForPowerOff()
    {
        await OrExplain(Vm.Completion, "power-off");
        VmExit exit = await Vm.Completion;
        Assert.True(exit is { Kind: VmExitKind.GuestExit, Code: 0 }, $"the VM ended with {exit}; console:\n{Serial.Text}");
        string[] complaints = [.. Serial.Text.Split('\n').Where(static line => Complaint().IsMatch(line))];
        Assert.True(complaints.Length == 0, $"the guest complains:\n{string.Join('\n', complaints)}\n\n{Serial.Text}");
    }

    public ValueTask DisposeAsync() => Vm.DisposeAsync();

    private async Task OrExplain(Task task, string what)
    {
        try
        {
            Task first = await Task.WhenAny(task, Vm.Completion).WaitAsync(Patience, Cancel);
            Assert.True(first == task || task.IsCompleted, $"the VM ended before {what}; console:\n{Serial.Text}");
            await task;
        }
        catch (TimeoutException)
        {
            Assert.Fail($"no {what} within {Patience}; console:\n{Serial.Text}");
        }
    }

    [GeneratedRegex(@"WARNING:|\bBUG\b|unchecked MSR|Call Trace|Oops|Kernel panic|clocksource:.*(unstable|skew|stuck)"
        + @"|(TSC|tsc).*(unstable|unreliable|failed|warp)|lockup|stalls? on|spurious|failed to start")]
    private static partial Regex Complaint();
}
