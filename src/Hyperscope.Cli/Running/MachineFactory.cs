using Hyperscope.Devices;
using Hyperscope.Guests;
using Hyperscope.Machine;
using Hyperscope.X64;
using Microsoft.Extensions.Logging;

namespace Hyperscope.Cli.Running;

/// <summary>Puts the machine together that <c>vm run</c> asks for.</summary>
internal static class MachineFactory
{
    private const string Builtin = "builtin:";
    private const ulong DefaultMemory = 64UL << 20, LinuxMemory = 512UL << 20;
    private const string DefaultCommandLine = "console=ttyS0 panic=-1";

    /// <summary>The guests that come with the command.</summary>
    public static IReadOnlyList<string> BuiltinGuests => ["demo", "selftest"];

    /// <summary>Makes a stopped VM with its guest loaded.</summary>
    /// <exception cref="CliException">The guest cannot be used.</exception>
    public static VirtualMachine Create(VmRunRequest request, ISerialOutput serial, ILogger? logger = null)
    {
        try
        {
            GuestSource guest = request.Guest;
            if (guest.Image is { } image && image.StartsWith(Builtin, StringComparison.Ordinal))
                return CreateBuiltin(image[Builtin.Length..], request, serial, logger);
            VirtualMachine vm = Make(request, serial, logger, guest.Kernel is not null || guest.Boot is not null ? LinuxMemory : DefaultMemory);
            vm.Load(LoadImage(guest, vm, request.VcpuCount));
            return vm;
        }
        catch (Exception problem) when (problem is ImageFormatException or ArgumentException or NotSupportedException or LinuxException)
        {
            throw new CliException(problem.Message);
        }
    }

    private static VirtualMachine CreateBuiltin(string name, VmRunRequest request, ISerialOutput serial, ILogger? logger)
    {
        GuestProgram program = name switch
        {
            "demo" => DemoGuest.Build(),
            "selftest" => SelftestGuest.Build(request.VcpuCount),
            _ => throw new CliException($"there is no built-in guest \"{name}\"; there are: {string.Join(", ", BuiltinGuests)}"),
        };
        if (name == "demo" && request.VcpuCount > 1)
            throw new CliException("the demo guest has one vCPU");
        VirtualMachine vm = Make(request, serial, logger, program.MinimumMemory);
        vm.Load(program.Pieces, program.InitialState);
        return vm;
    }

    private static VirtualMachine Make(VmRunRequest request, ISerialOutput serial, ILogger? logger, ulong defaultMemory) => new(new VirtualMachineOptions
    {
        Name = request.Name,
        Id = request.Uuid ?? Guid.NewGuid(),
        MemoryBytes = request.MemoryBytes ?? defaultMemory,
        MemoryFile = request.MemoryFile?.FullName,
        VcpuCount = request.VcpuCount,
        Backend = request.Backend.Resolve(),
        Protection = request.Protection,
        Logger = logger,
        SerialOutput = serial,
        Clock = request.IsDeterministic ? new InstructionClock() : null,
        WallClock = request.IsDeterministic ? DateTimeOffset.UnixEpoch.AddYears(50) : null,
        CpuModel = new CpuModel { RandomSeed = request.IsDeterministic ? 1 : null },
    });

    private static BootImage LoadImage(GuestSource guest, VirtualMachine vm, int vcpuCount)
    {
        if (guest.Firmware is { } firmware)
            return FirmwareLoader.Load(Read(firmware));
        if (guest.Image is { } image)
        {
            var address = new Gpa(guest.Address);
            return FlatImageLoader.Load(Read(new FileInfo(image)), address, address, guest.Mode, vm.MemoryMap);
        }

        MemoryPiece acpi = AcpiTables.Build(vcpuCount);
        (FileInfo kernel, ReadOnlyMemory<byte> initrd) = guest.Boot is null
            ? (guest.Kernel!, guest.Initrd is { } file ? Read(file) : default)
            : DebianGuest.Find(guest.Added);
        BootImage boot = ImageLoader.LoadKernel(Read(kernel), new LinuxBootOptions
        {
            Memory = vm.MemoryMap,
            CommandLine = guest.CommandLine ?? DefaultCommandLine,
            Initrd = initrd,
            Rsdp = AcpiTables.RsdpAddress,
        });
        return boot.With(acpi);
    }

    private static byte[] Read(FileInfo file)
    {
        if (!file.Exists)
            throw new CliException($"there is no file {file.FullName}");
        return File.ReadAllBytes(file.FullName);
    }
}
