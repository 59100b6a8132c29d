using System.Text.Json;
using Hyperscope.Cli.Commands;
using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Tests;

public sealed class LinuxModulesTests
{
    [Fact]
    public void Code_that_belongs_to_no_module_is_among_the_json()
    {
        var module = new LinuxModule
        {
            Address = new Gva(0xffffffffc0002000),
            Name = "dummy",
            State = "Live",
            Size = 0x3000,
            References = 0,
            Parts = [(ModulePart.Text, new KernelRange(new Gva(0xffffffffc0000000), new Gva(0xffffffffc0001000)))],
            Found = ModuleSources.Tree | ModuleSources.Objects,
            Missing = ModuleSources.List,
        };
        var unowned = new KernelRange(new Gva(0xffffffffc0010000), new Gva(0xffffffffc0012000));
        Assert.Equal(
            """
            {"items":[{"name":"dummy","size":12288,"references":0,"state":"Live","base":"0xffffffffc0000000","address":"0xffffffffc0002000",
            "parts":[{"part":"Text","start":"0xffffffffc0000000","end":"0xffffffffc0001000"}],"hidden":true,"foundIn":"Tree, Objects","missingIn":"List"}],
            "truncated":"a circle at 0x10","unownedCode":[{"start":"0xffffffffc0010000","end":"0xffffffffc0012000"}]}
            """.Replace("\n", "", StringComparison.Ordinal),
            Json([module], [unowned], new Truncation("a circle", new Gva(0x10))));
        Assert.Equal("""{"items":[],"unownedCode":[]}""", Json([], [], null));
    }

    private static string Json(IReadOnlyList<LinuxModule> modules, IReadOnlyList<KernelRange> unowned, Truncation? truncation) =>
        JsonSerializer.Serialize(LinuxModulesCommand.Record(modules, unowned, truncation), LinuxJson.Default.LinuxModuleListRecord);
}
