using Hyperscope.Kvm;
using Hyperscope.Machine;

namespace Hyperscope.Cli.Running;

/// <summary>What <c>vm run</c> was asked for.</summary>
internal sealed record VmRunRequest
{
    /// <summary>What to run.</summary>
    public required GuestSource Guest { get; init; }

    /// <summary>What the VM is called.</summary>
    public string Name { get; init; } = "guest";

    /// <summary>Its UUID; null: a new one.</summary>
    public Guid? Uuid { get; init; }

    /// <summary>Guest memory; null: what the guest needs.</summary>
    public ulong? MemoryBytes { get; init; }

    /// <summary>Where the file of guest memory is made; null: it has no name.</summary>
    public FileInfo? MemoryFile { get; init; }

    /// <summary>Number of vCPUs.</summary>
    public int VcpuCount { get; init; } = 1;

    /// <summary>What executes guest code.</summary>
    public BackendChoice Backend { get; init; } = BackendChoice.Software;

    /// <summary>How the KVM back end protects memory.</summary>
    public ProtectionMethod Protection { get; init; }

    /// <summary>Time, date and random numbers are the same in each run.</summary>
    public bool IsDeterministic { get; init; }

    /// <summary>Where a tool listens.</summary>
    public Endpoint? ConnectTo { get; init; }

    /// <summary>Where to listen for tools.</summary>
    public Endpoint? ListenAt { get; init; }

    /// <summary>What tools speak.</summary>
    public Dialect Dialect { get; init; } = Dialect.Auto;

    /// <summary>Greet tools before the protocol starts, as existing C tools expect.</summary>
    public bool HasHandshake { get; init; }

    /// <summary>What a tool must know to be let in; null: nothing.</summary>
    public FileInfo? SecretFile { get; init; }

    /// <summary>Where to listen for the VM's owner.</summary>
    public Endpoint? ControlAt { get; init; }

    /// <summary>What tools may do.</summary>
    public required Permissions Permissions { get; init; }

    /// <summary>Start with the vCPUs taken out of their run loops.</summary>
    public bool IsPaused { get; init; }

    /// <summary>Log more.</summary>
    public bool IsVerbose { get; init; }
}

/// <summary>Where a guest comes from. One of the forms is given.</summary>
internal sealed record GuestSource
{
    /// <summary><c>builtin:NAME</c>, or a flat image.</summary>
    public string? Image { get; init; }

    /// <summary>How a flat image is entered.</summary>
    public EntryMode Mode { get; init; } = EntryMode.Long;

    /// <summary>Where a flat image goes.</summary>
    public ulong Address { get; init; } = FlatImageLoader.DefaultAddress;

    /// <summary>A bzImage, ELF or multiboot kernel.</summary>
    public FileInfo? Kernel { get; init; }

    /// <summary>Its initial RAM disk.</summary>
    public FileInfo? Initrd { get; init; }

    /// <summary>Its command line.</summary>
    public string? CommandLine { get; init; }

    /// <summary><c>debian</c>: the installed kernel and a busybox made into an initial RAM disk.</summary>
    public string? Boot { get; init; }

    /// <summary>What else goes into the initial RAM disk of <see cref="Boot"/>.</summary>
    public IReadOnlyList<AddedFile> Added { get; init; } = [];

    /// <summary>A firmware image at the reset vector.</summary>
    public FileInfo? Firmware { get; init; }
}

/// <summary>A file or directory of the host's for the guest.</summary>
/// <param name="Source">Where it is.</param>
/// <param name="GuestPath">Where the guest finds it; null: below <c>/</c>, under the name that it has.</param>
internal sealed record AddedFile(string Source, string? GuestPath)
{
    /// <summary>Reads <c>FILE[:GUESTPATH]</c>; a guest path starts with a slash, so a colon elsewhere is part of the name.</summary>
    public static AddedFile Parse(string text)
    {
        int colon = text.LastIndexOf(":/", StringComparison.Ordinal);
        return colon > 0 ? new AddedFile(text[..colon], text[(colon + 1)..]) : new AddedFile(text, null);
    }
}

/// <summary>Which commands and events tools may use.</summary>
/// <param name="Commands">Allowed commands beyond those that always are.</param>
/// <param name="Events">Allowed events.</param>
internal sealed record Permissions(IReadOnlySet<MessageId> Commands, IReadOnlySet<EventId> Events)
{
    private static readonly string[] Groups = ["all", "commands", "events"];

    /// <summary>Turns <c>--allow</c> and <c>--deny</c> into sets: everything is allowed unless <c>--allow</c> says what.</summary>
    public static Permissions From(IReadOnlyList<string> allow, IReadOnlyList<string> deny)
    {
        HashSet<MessageId> commands = [];
        HashSet<EventId> events = [];
        foreach (string name in allow.Count == 0 ? ["all"] : allow)
        {
            commands.UnionWith(CommandsOf(name));
            events.UnionWith(EventsOf(name));
        }

        foreach (string name in deny)
        {
            commands.ExceptWith(CommandsOf(name));
            events.ExceptWith(EventsOf(name));
        }

        return new Permissions(commands, events);
    }

    /// <summary>Whether a name is a group, a command or an event.</summary>
    public static bool IsName(string name) =>
        Groups.Contains(name) || Values.TryParseCommand(name, out _) || Values.TryParseEvent(name, out _);

    private static IEnumerable<MessageId> CommandsOf(string name)
    {
        if (name is "all" or "commands")
            return [.. CommandCatalog.All.ToArray().Select(static info => info.Id), .. CommandCatalog.Extensions.ToArray().Select(static info => info.Id)];
        return Values.TryParseCommand(name, out MessageId id) ? [id] : [];
    }

    private static IEnumerable<EventId> EventsOf(string name)
    {
        if (name is "all" or "events")
            return [.. EventCatalog.All.ToArray().Select(static info => info.Id), .. EventCatalog.Extensions.ToArray().Select(static info => info.Id)];
        return Values.TryParseEvent(name, out EventId id) ? [id] : [];
    }
}
