namespace Hyperscope.Guard.Tests;

public sealed class CatalogTests
{
    public static TheoryData<string> Kinds() => [.. RuleCatalog.All.Select(static kind => kind.Name)];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Kind_is_documented_with_all_its_keys(string name)
    {
        string row = Assert.Single(Sources.Read("docs/guard.md").Split("| verdict |")[0].Split('\n'), line => line.StartsWith($"| `{name}` |", StringComparison.Ordinal));
        foreach (string key in RuleCatalog.Find(name).Options)
            Assert.Contains(key, row, StringComparison.Ordinal);
    }

    [Fact]
    public void Verdicts_are_documented_and_read_back()
    {
        string text = Sources.Read("docs/guard.md");
        foreach (Verdict verdict in Enum.GetValues<Verdict>())
        {
            Assert.Contains($"| `{verdict.ToText()}` |", text, StringComparison.Ordinal);
            Assert.True(VerdictText.TryParse(verdict.ToText(), out Verdict read));
            Assert.Equal(verdict, read);
        }
    }
}
