using System.Runtime.CompilerServices;
using Hyperscope.Boot.Tests;
using Hyperscope.Guests;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Randomisation, isolated page tables and, if it was built, the attack lab's module. Two vCPUs in a full run.</summary>
public sealed class EventGuest : LiveGuest
{
    private static readonly string LabFolder = Path.GetFullPath(Path.Combine(SourceFolder(), "../../..", AttackLab.HostFolder));

    /// <summary>The lab was built.</summary>
    public static bool HasLab => File.Exists(Path.Combine(LabFolder, "attack.ko"));

    /// <summary>Loads the module without its patching anything.</summary>
    public async Task LoadModuleAsync()
    {
        // What the kernel says about it goes to the console as well.
        string[] lines = await RunAsync(
            $"insmod {AttackLab.GuestFolder}/attack.ko lookup=0x{Linux.Symbols.AddressOf("kallsyms_lookup_name").Value:x}; grep -c '^attack ' /proc/modules");
        Assert.Contains("1", lines);
    }

    private static string SourceFolder([CallerFilePath] string path = "") => Path.GetDirectoryName(path)!;

    private protected override DebianGuest Create() => DebianGuest.Create(
        vcpus: DebianGuest.IsFull ? 2 : 1, entry: LinuxEntry.Protected, parameters: "pti=on",
        files:
        [
            new InitramfsFile("/calls32", TinyProgram.CallsOf32Bit(), true),
            .. HasLab ? InitramfsFile.From(LabFolder, AttackLab.GuestFolder) : [],
        ]);
}

/// <summary>The tests that share one guest.</summary>
[CollectionDefinition(Name)]
public sealed class EventGuestTests : ICollectionFixture<EventGuest>
{
    public const string Name = "One guest whose events are watched";
}
