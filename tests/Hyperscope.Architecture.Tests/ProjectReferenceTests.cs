using System.Runtime.CompilerServices;
using System.Xml.Linq;

namespace Hyperscope.Architecture.Tests;

/// <summary>The arrows between projects, as docs/architecture.md draws them. A new arrow fails here first.</summary>
public sealed class ProjectReferenceTests
{
    private static readonly Dictionary<string, string[]> Allowed = new()
    {
        ["LinuxHost"] = [],
        ["Vm"] = ["LinuxHost"],
        ["Kvmi"] = ["Vm"],
        ["Client"] = ["Kvmi", "LinuxHost"],
        ["Introspection"] = ["Kvmi", "Vm", "LinuxHost"],
        ["X64"] = ["Vm"],
        ["Devices"] = ["Vm"],
        ["Kvm"] = ["LinuxHost", "X64", "Vm"],
        ["Machine"] = ["Introspection", "X64", "Kvm", "Devices"],
        ["GuestLinux"] = ["Client"],
        ["Guard"] = ["Client", "GuestLinux"],
        ["Guests"] = ["Vm"],
        ["Conformance"] = ["Guests", "Kvmi", "LinuxHost"],
        ["Cli"] = ["Machine", "Client", "GuestLinux", "Guard", "Guests", "Conformance"],
    };

    private static readonly string[] MayBeUnsafe = ["Vm", "X64", "LinuxHost", "Kvm"];

    public static TheoryData<string> Projects()
    {
        var data = new TheoryData<string>();
        foreach (string path in Directory.GetFiles(Path.Combine(Root(), "src"), "*.csproj", SearchOption.AllDirectories))
            data.Add(Path.GetFileNameWithoutExtension(path)["Hyperscope.".Length..]);
        return data;
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void References_follow_the_arrows(string project)
    {
        Assert.True(Allowed.ContainsKey(project), $"{project} is not in the architecture");
        IEnumerable<string> references = Load(project).Descendants("ProjectReference")
            .Select(reference => Path.GetFileNameWithoutExtension(reference.Attribute("Include")!.Value)["Hyperscope.".Length..]);
        Assert.Empty(references.Except(Allowed[project]));
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void Only_the_projects_next_to_memory_and_kernel_allow_unsafe_code(string project)
    {
        bool allows = Load(project).Descendants("AllowUnsafeBlocks").Any(element => element.Value == "true");
        Assert.True(!allows || MayBeUnsafe.Contains(project), $"{project} allows unsafe blocks");
    }

    [Fact]
    public void Every_project_has_tests()
    {
        string[] missing = [.. Projects().Select(row => row.Data)
            .Where(project => !File.Exists(Path.Combine(Root(), "tests", $"Hyperscope.{project}.Tests", $"Hyperscope.{project}.Tests.csproj")))];
        Assert.Empty(missing);
    }

    private static XDocument Load(string project) =>
        XDocument.Load(Path.Combine(Root(), "src", $"Hyperscope.{project}", $"Hyperscope.{project}.csproj"));

    private static string Root([CallerFilePath] string file = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(file)!, "..", ".."));
}
