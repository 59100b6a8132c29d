namespace Hyperscope.GuestLinux;

/// <summary>How a guest is looked at.</summary>
public sealed record LinuxGuestOptions
{
    /// <summary>A folder of profiles, one file per kernel build: symbols and types that were found once are not looked for again. Null: no
    /// such folder. A profile is only used if the guest's own build id says so.</summary>
    public string? ProfileDirectory { get; init; }

    /// <summary>Entries that a walk through guest memory takes at most before it is cut off.</summary>
    public int MaxEntries { get; init; } = 65536;
}
