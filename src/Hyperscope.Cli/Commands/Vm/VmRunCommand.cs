using System.Text;
using Hyperscope.Cli.Running;
using Hyperscope.Machine;

namespace Hyperscope.Cli.Commands;

/// <summary><c>vm run</c>.</summary>
internal sealed class VmRunCommand : CliCommand
{
    private readonly Option<string?> _image = new("--image")
    {
        Description = "A flat image, or builtin:demo or builtin:selftest",
        HelpName = "file",
    };

    private readonly Option<EntryMode> _mode = new("--mode")
    {
        Description = "How a flat image is entered",
        DefaultValueFactory = static _ => EntryMode.Long,
    };

    private readonly Option<ulong> _address = new("--address")
    {
        Description = "Where a flat image goes and is entered",
        HelpName = "gpa",
        DefaultValueFactory = static _ => FlatImageLoader.DefaultAddress,
        CustomParser = Values.Size,
    };

    private readonly Option<FileInfo?> _kernel = new("--kernel") { Description = "A Linux bzImage or vmlinux, or a multiboot kernel", HelpName = "file" };

    private readonly Option<FileInfo?> _initrd = new("--initrd") { Description = "The kernel's initial RAM disk", HelpName = "file" };

    private readonly Option<string?> _append = new("--append") { Description = "The kernel's command line", HelpName = "text" };

    private readonly Option<string?> _boot = new("--boot") { Description = "debian: the installed Debian kernel with a busybox shell", HelpName = "system" };

    private readonly Option<AddedFile[]> _add = new("--add")
    {
        Description = "A file or directory for the initial RAM disk of --boot; may be given again",
        HelpName = "file[:guestpath]",
        CustomParser = static result => [.. result.Tokens.Select(static token => AddedFile.Parse(token.Value))],
    };

    private readonly Option<FileInfo?> _firmware = new("--firmware") { Description = "A firmware image at the reset vector", HelpName = "file" };

    private readonly Option<ulong?> _memory = new("--memory")
    {
        Description = "Guest memory, such as 512M; what the guest needs unless given",
        HelpName = "size",
        CustomParser = static result => Values.Size(result),
    };

    private readonly Option<FileInfo?> _memoryFile = new("--memory-file")
    {
        Description = "Make a file of guest memory there, at guest-physical offsets, that tools can map; it is left behind",
        HelpName = "file",
    };

    private readonly Option<int> _vcpus = new("--vcpus")
    {
        Description = "Number of vCPUs, 1 to 8",
        HelpName = "n",
        DefaultValueFactory = static _ => 1,
        CustomParser = Values.Count,
    };

    private readonly Option<string?> _backend = BackendChoice.Option();

    private readonly Option<string?> _protect = ProtectionChoice.Option();

    private readonly Option<string?> _clock = new("--clock")
    {
        Description = "Where guest time comes from: host (unless given), or deterministic, from the instructions of a single vCPU, so that runs repeat",
        HelpName = "host|deterministic",
    };

    private readonly Option<Endpoint?> _connect = new("--kvmi")
    {
        Description = "Connect to a tool that listens there, trying until it does: unix:PATH, vsock:CID:PORT or tcp:HOST:PORT",
        HelpName = "endpoint",
        CustomParser = Values.Endpoint,
    };

    private readonly Option<Endpoint?> _connectGreeting = new("--kvmi-connect")
    {
        Description = "The same with the handshake that existing C tools expect (libkvmi, LibVMI, HVMI)",
        HelpName = "endpoint",
        CustomParser = Values.Endpoint,
    };

    private readonly Option<FileInfo?> _secret = new("--kvmi-secret-file")
    {
        Description = "What a tool must know in the handshake",
        HelpName = "file",
    };

    private readonly Option<Dialect> _dialect = new("--dialect")
    {
        Description = "What tools speak: auto, v9 or libkvmi",
        HelpName = "name",
        DefaultValueFactory = static _ => Dialect.Auto,
        CustomParser = static result =>
        {
            if (!Dialect.TryParse(result.Tokens[0].Value, out Dialect? dialect))
                result.AddError($"\"{result.Tokens[0].Value}\" is not auto, v9 or libkvmi");
            return dialect ?? Dialect.Auto;
        },
    };

    private readonly Option<string> _name = new("--name")
    {
        Description = "What the VM is called in the handshake, in logs and in evidence",
        HelpName = "name",
        DefaultValueFactory = static _ => "guest",
    };

    private readonly Option<Guid?> _uuid = new("--uuid") { Description = "The VM's UUID in the handshake; a new one unless given", HelpName = "uuid" };

    private readonly Option<Endpoint?> _listen = new("--kvmi-listen")
    {
        Description = "Listen there for tools instead; one at a time",
        HelpName = "endpoint",
        CustomParser = Values.Endpoint,
    };

    private readonly Option<Endpoint?> _control = new("--control")
    {
        Description = "Listen there for the VM's owner: see hyperscope vm ctl",
        HelpName = "endpoint",
        CustomParser = Values.Endpoint,
    };

    private readonly Option<bool> _paused = new("--paused") { Description = "Do not run the vCPUs until told to by vm ctl resume" };

    private readonly Option<bool> _verbose = new("--verbose") { Description = "Log what introspection does" };

    private readonly Option<string[]> _allow = Names(
        "--allow", "What tools may do: all, commands, events, or names (vm-read-physical, pf). Everything unless given");

    private readonly Option<string[]> _deny = Names("--deny", "What tools may not do, out of that");

    /// <summary>Adds its options.</summary>
    public VmRunCommand()
        : base(
            "run",
            "Run a VM with introspection, on the software CPU or KVM. Until it ends, or Ctrl-C (on a terminal: Ctrl-A X).",
            new("hyperscope vm run --boot debian", "A Debian kernel and a shell on this terminal"),
            new("hyperscope vm run --boot debian --add tools:/opt/tools", "The same with files of the host's"),
            new("hyperscope vm run --image builtin:selftest --kvmi-listen unix:/run/vm.sock", "A VM that tools can attach to"),
            new("hyperscope vm run --image guest.bin --memory 512M --vcpus 2 --kvmi unix:/run/tool.sock", "A VM that goes to its tool"),
            new("hyperscope vm run --boot debian --kvmi-connect unix:/run/hookguest.sock", "A VM that goes to an existing C tool"),
            new("hyperscope vm run --kernel vmlinuz --initrd initrd.img --append console=ttyS0", "Another kernel"),
            new("hyperscope vm run --boot debian --kvmi-listen unix:/run/vm.sock --deny vm-write-physical", "Tools may look, not touch"))
    {
        foreach (Option option in (Option[])[_image, _mode, _address, _kernel, _initrd, _append, _boot, _add, _firmware, _memory, _memoryFile, _vcpus, _backend,
            _protect, _clock, _connect, _connectGreeting, _secret, _dialect, _name, _uuid, _listen, _control, _allow, _deny, _paused, _verbose])
        {
            Options.Add(option);
        }

        Validators.Add(result =>
        {
            int sources = new object?[] { result.GetValue(_image), result.GetValue(_kernel), result.GetValue(_boot), result.GetValue(_firmware) }
                .Count(static source => source is not null);
            if (sources != 1)
                result.AddError("give one of --image, --kernel, --boot and --firmware");
            if (result.GetValue(_boot) is { } system && system != "debian")
                result.AddError($"--boot {system} is not known; there is: debian");
            if (result.GetValue(_add) is { Length: > 0 } && result.GetValue(_boot) is null)
                result.AddError("--add goes with --boot; other kernels bring their own --initrd");
            if (result.GetValue(_connect) is not null && result.GetValue(_listen) is not null)
                result.AddError("give either --kvmi or --kvmi-listen");
            if (result.GetValue(_connectGreeting) is not null && (result.GetValue(_connect) ?? result.GetValue(_listen)) is not null)
                result.AddError("give one of --kvmi, --kvmi-connect and --kvmi-listen");
            if (result.GetValue(_secret) is not null && result.GetValue(_connectGreeting) is null)
                result.AddError("--kvmi-secret-file is for the handshake of --kvmi-connect");
            if (result.GetValue(_name) is { } name && Encoding.UTF8.GetByteCount(name) is 0 or > VmGreeting.MaxNameBytes)
                result.AddError($"--name \"{name}\" is not 1 to {VmGreeting.MaxNameBytes} bytes long");
            if (result.GetValue(_memory) is { } memory && (memory < GuestMemoryMap.MinimumBytes || memory % Gfn.PageSize != 0))
                result.AddError($"--memory {memory} is not a multiple of {Gfn.PageSize} bytes of at least {GuestMemoryMap.MinimumBytes}");
            if (result.GetValue(_vcpus) > VirtualMachineOptions.MaxVcpus)
                result.AddError($"--vcpus {result.GetValue(_vcpus)} is above {VirtualMachineOptions.MaxVcpus}");
            if (result.GetValue(_clock) is not (null or "host" or "deterministic"))
                result.AddError($"--clock {result.GetValue(_clock)} is not known; there are: host, deterministic");
            else if (result.GetValue(_clock) == "deterministic" && result.GetValue(_vcpus) > 1)
                result.AddError($"--clock deterministic goes with one vCPU, not {result.GetValue(_vcpus)}");
            if (result.GetValue(_clock) == "deterministic" && result.GetValue(_backend) is ("kvm" or "auto"))
                result.AddError("--clock deterministic goes with the software CPU: KVM counts no instructions");
        });
    }

    /// <inheritdoc/>
    protected override Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation) => VmRunner.RunAsync(
        new VmRunRequest
        {
            Guest = new GuestSource
            {
                Image = parsed.GetValue(_image),
                Mode = parsed.GetValue(_mode),
                Address = parsed.GetValue(_address),
                Kernel = parsed.GetValue(_kernel),
                Initrd = parsed.GetValue(_initrd),
                CommandLine = parsed.GetValue(_append),
                Boot = parsed.GetValue(_boot),
                Added = parsed.GetValue(_add) ?? [],
                Firmware = parsed.GetValue(_firmware),
            },
            Name = parsed.GetValue(_name)!,
            Uuid = parsed.GetValue(_uuid),
            MemoryBytes = parsed.GetValue(_memory),
            MemoryFile = parsed.GetValue(_memoryFile),
            VcpuCount = parsed.GetValue(_vcpus),
            Backend = new BackendChoice(parsed.GetValue(_backend) ?? "software"),
            Protection = ProtectionChoice.Parse(parsed.GetValue(_protect)),
            IsDeterministic = parsed.GetValue(_clock) == "deterministic",
            ConnectTo = parsed.GetValue(_connectGreeting) ?? parsed.GetValue(_connect),
            HasHandshake = parsed.GetValue(_connectGreeting) is not null,
            SecretFile = parsed.GetValue(_secret),
            Dialect = parsed.GetValue(_dialect) ?? Dialect.Auto,
            ListenAt = parsed.GetValue(_listen),
            ControlAt = parsed.GetValue(_control),
            Permissions = Permissions.From(parsed.GetValue(_allow) ?? [], parsed.GetValue(_deny) ?? []),
            IsPaused = parsed.GetValue(_paused),
            IsVerbose = parsed.GetValue(_verbose),
        },
        Console,
        cancellation);

    private static Option<string[]> Names(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "list",
        CustomParser = static result =>
        {
            string[] names = [.. result.Tokens.SelectMany(static token => token.Value.Split(',', StringSplitOptions.RemoveEmptyEntries))];
            foreach (string unknown in names.Where(static name => !Permissions.IsName(name)))
                result.AddError($"\"{unknown}\" is no command, event or group; see: hyperscope vm info");
            return names;
        },
    };
}
