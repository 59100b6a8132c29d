namespace Hyperscope.Cli.Running;

/// <summary>What <c>vm run</c> was asked for.</summary>
/// <param name="Image">The guest's image.</param>
/// <param name="MemoryBytes">Guest memory.</param>
/// <param name="VcpuCount">Number of vCPUs.</param>
/// <param name="ConnectTo">Where a tool listens.</param>
/// <param name="ListenAt">Where to listen for tools.</param>
/// <param name="Permissions">What tools may do, in order.</param>
internal sealed record VmRunRequest(
    FileInfo Image, ulong MemoryBytes, int VcpuCount, Endpoint? ConnectTo, Endpoint? ListenAt, IReadOnlyList<Permission> Permissions);

/// <summary>One change of a permission mask.</summary>
/// <param name="IsCommand">Of commands, not of events.</param>
/// <param name="Id">A message or event id; -1: all.</param>
/// <param name="Allow">Allow or deny.</param>
internal readonly record struct Permission(bool IsCommand, int Id, bool Allow)
{
    private static readonly string[] Groups = ["all", "commands", "events"];

    /// <summary>Turns <c>--allow</c> and <c>--deny</c> into changes: everything is allowed unless <c>--allow</c> says what.</summary>
    public static Permission[] From(IReadOnlyList<string> allow, IReadOnlyList<string> deny) =>
    [
        .. Of(allow.Count == 0 ? "all" : "", allow: true),
        .. allow.SelectMany(static name => Of(name, allow: true)),
        .. deny.SelectMany(static name => Of(name, allow: false)),
    ];

    /// <summary>Whether a name is a group, a command or an event.</summary>
    public static bool IsName(string name) =>
        Groups.Contains(name) || Values.TryParseCommand(name, out _) || Values.TryParseEvent(name, out _);

    private static IEnumerable<Permission> Of(string name, bool allow)
    {
        if (name is "all" or "commands")
            yield return new Permission(true, -1, allow);
        if (name is "all" or "events")
            yield return new Permission(false, -1, allow);
        if (Values.TryParseCommand(name, out MessageId command))
            yield return new Permission(true, (int)command, allow);
        if (Values.TryParseEvent(name, out EventId eventId))
            yield return new Permission(false, (int)eventId, allow);
    }
}
