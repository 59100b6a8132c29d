using System.Text.Json.Serialization;

namespace Hyperscope.Machine.Control;

/// <summary>One request to the process that owns a VM: one line of JSON.</summary>
public sealed record ControlRequest
{
    /// <summary>status, resume, suspend, stop, hook, unhook, pre-unhook, allow-command, allow-event, add-memory or remove-memory.</summary>
    public required string Command { get; init; }

    /// <summary>hook: where the tool listens.</summary>
    public string? Endpoint { get; init; }

    /// <summary>hook: what the padding of the hook structure holds.</summary>
    public uint Padding { get; init; }

    /// <summary>hook: a descriptor number to use instead of a connection.</summary>
    public int? Descriptor { get; init; }

    /// <summary>allow-command, allow-event: the id, -1 for all.</summary>
    public int Id { get; init; }

    /// <summary>allow-command, allow-event: 1 allow, 0 disallow.</summary>
    public uint Allow { get; init; }

    /// <summary>add-memory, remove-memory: first address.</summary>
    public ulong Gpa { get; init; }

    /// <summary>add-memory: length.</summary>
    public ulong Bytes { get; init; }
}

/// <summary>The answer: one line of JSON.</summary>
public sealed record ControlResponse
{
    /// <summary>0, or an errno.</summary>
    public int Error { get; init; }

    /// <summary>What went wrong, for people.</summary>
    public string? Message { get; init; }

    /// <summary>status: what the VM is doing.</summary>
    public VmStatus? Status { get; init; }
}

/// <summary>A VM at a glance.</summary>
public sealed record VmStatus
{
    /// <summary>Its name.</summary>
    public required string Name { get; init; }

    /// <summary>Its id.</summary>
    public required Guid Id { get; init; }

    /// <summary>Number of vCPUs.</summary>
    public required int Vcpus { get; init; }

    /// <summary>Bytes of memory in all slots.</summary>
    public required ulong MemoryBytes { get; init; }

    /// <summary>Instructions retired so far.</summary>
    public required ulong Instructions { get; init; }

    /// <summary>vCPUs are taken out of their run loops.</summary>
    public required bool IsSuspended { get; init; }

    /// <summary>A tool is attached.</summary>
    public required bool IsHooked { get; init; }

    /// <summary>Frames whose access is restricted.</summary>
    public required long RestrictedFrames { get; init; }
}

/// <summary>JSON without reflection.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ControlRequest))]
[JsonSerializable(typeof(ControlResponse))]
internal sealed partial class ControlJson : JsonSerializerContext;
