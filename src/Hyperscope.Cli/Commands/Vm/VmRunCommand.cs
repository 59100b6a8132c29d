using Hyperscope.Cli.Running;

namespace Hyperscope.Cli.Commands;

/// <summary><c>vm run</c>.</summary>
internal sealed class VmRunCommand : CliCommand
{
    private readonly Option<FileInfo> _image = new("--image") { Description = "The guest's image", HelpName = "file", Required = true };

    private readonly Option<ulong?> _memory = new("--memory")
    {
        Description = "Guest memory, such as 512M; 64M unless given",
        HelpName = "size",
        CustomParser = static result => Values.Size(result),
    };

    private readonly Option<int> _vcpus = new("--vcpus")
    {
        Description = "Number of vCPUs, 1 to 8",
        HelpName = "n",
        DefaultValueFactory = static _ => 1,
        CustomParser = Values.Count,
    };

    private readonly Option<Endpoint?> _connect = new("--kvmi")
    {
        Description = "Connect to a tool that listens there, trying until it does: unix:PATH, vsock:CID:PORT or tcp:HOST:PORT",
        HelpName = "endpoint",
        CustomParser = Values.Endpoint,
    };

    private readonly Option<Endpoint?> _listen = new("--kvmi-listen")
    {
        Description = "Listen there for tools instead; one at a time",
        HelpName = "endpoint",
        CustomParser = Values.Endpoint,
    };

    private readonly Option<string[]> _allow = Names(
        "--allow", "What tools may do: all, commands, events, or names (vm-read-physical, pf). Everything unless given");

    private readonly Option<string[]> _deny = Names("--deny", "What tools may not do, out of that");

    /// <summary>Adds its options.</summary>
    public VmRunCommand()
        : base(
            "run",
            "Run a VM on the software CPU, with introspection. Until it ends, or Ctrl-C.",
            new("hyperscope vm run --image guest.bin --kvmi-listen unix:/run/vm.sock", "A VM that tools can attach to"),
            new("hyperscope vm run --image guest.bin --memory 512M --vcpus 2 --kvmi unix:/run/tool.sock", "A VM that goes to its tool"),
            new("hyperscope vm run --image guest.bin --kvmi unix:/run/tool.sock --deny vm-write-physical", "Tools may look, not touch"))
    {
        Options.Add(_image);
        Options.Add(_memory);
        Options.Add(_vcpus);
        Options.Add(_connect);
        Options.Add(_listen);
        Options.Add(_allow);
        Options.Add(_deny);
    }

    /// <inheritdoc/>
    protected override IEnumerable<string> Misuse(ParseResult parsed)
    {
        if (parsed.GetValue(_connect) is not null && parsed.GetValue(_listen) is not null)
            yield return "give either --kvmi or --kvmi-listen";
        ulong memory = MemoryOf(parsed);
        if (memory < Gfn.PageSize || memory % Gfn.PageSize != 0)
            yield return $"--memory {memory} is not a positive multiple of {Gfn.PageSize} bytes";
        if (parsed.GetValue(_vcpus) > Machine.VirtualMachineOptions.MaxVcpus)
            yield return $"--vcpus {parsed.GetValue(_vcpus)} is above {Machine.VirtualMachineOptions.MaxVcpus}";
    }

    /// <inheritdoc/>
    protected override Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        FileInfo image = parsed.GetValue(_image)!;
        if (!image.Exists)
            throw new CliException($"there is no image {image.FullName}");
        var request = new VmRunRequest(
            image,
            MemoryOf(parsed),
            parsed.GetValue(_vcpus),
            parsed.GetValue(_connect),
            parsed.GetValue(_listen),
            Permission.From(parsed.GetValue(_allow) ?? [], parsed.GetValue(_deny) ?? []));
        return VmRunner.RunAsync(request, Console, cancellation);
    }

    private ulong MemoryOf(ParseResult parsed) => parsed.GetValue(_memory) ?? 64UL << 20;

    private static Option<string[]> Names(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "list",
        CustomParser = static result =>
        {
            string[] names = [.. result.Tokens.SelectMany(static token => token.Value.Split(',', StringSplitOptions.RemoveEmptyEntries))];
            foreach (string unknown in names.Where(static name => !Permission.IsName(name)))
                result.AddError($"\"{unknown}\" is no command, event or group; see: hyperscope vm info");
            return names;
        },
    };
}
