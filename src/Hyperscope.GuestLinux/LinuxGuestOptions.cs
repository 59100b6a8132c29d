namespace Hyperscope.GuestLinux;

/// <summary>How a guest is looked at.</summary>
public sealed record LinuxGuestOptions
{
    /// <summary>A folder of profiles, one file per kernel build: symbols and types that were found once are not looked for again. Null: no
    /// such folder. A profile is only used if the guest's own build id says so. What is in it is what some guest said of that build: share a folder
    /// among guests that you trust alike.</summary>
    public string? ProfileDirectory { get; init; }

    /// <summary>Entries that a walk through guest memory takes at most before it is cut off.</summary>
    public int MaxEntries { get; init; } = 65536;
}
