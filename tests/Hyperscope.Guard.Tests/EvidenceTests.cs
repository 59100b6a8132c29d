using System.Reflection;
using System.Text.Json;

namespace Hyperscope.Guard.Tests;

public sealed class EvidenceTests
{
    private static readonly Violation Full = new()
    {
        Time = DateTimeOffset.UnixEpoch,
        Vm = "vm",
        Vcpu = 1,
        Rule = "text",
        Kind = "kernel-text",
        Verdict = Verdict.Discard,
        Outcome = "discarded",
        What = "write to kernel text: x+0x1",
        Note = "n",
        Target = "x+0x1",
        Gva = "0x1",
        Gpa = "0x2",
        Access = "w",
        Size = 1,
        Before = "00",
        After = "cc",
        Register = new RegisterChange("CR0", "0x1", "0x2"),
        Instruction = new CodePlace("0x3", "y", "90", "nop"),
        Process = new ViolationProcess(1, 1, "init", 0, 0, "0x4", false),
        Stack = new CallStack("scan", [new CodePlace("0x5", "z")]),
        Registers = new Dictionary<string, string> { ["rax"] = "0x0" },
        Core = "guest.core",
    };

    [Fact]
    public void Violation_is_one_line_and_reads_back()
    {
        string line = ViolationJson.ToLine(Full);
        Assert.DoesNotContain('\n', line);
        Assert.Contains("\"symbol\":\"y\"", line, StringComparison.Ordinal);
        Assert.Contains("\"target\":\"x+0x1\"", line, StringComparison.Ordinal);
        Assert.Equal(line, ViolationJson.ToLine(ViolationJson.FromLine(line)!));
    }

    [Fact]
    public void Values_that_are_missing_have_no_key()
    {
        string line = ViolationJson.ToLine(new Violation
        {
            Time = DateTimeOffset.UnixEpoch,
            Vm = "vm",
            Rule = "r",
            Kind = "idt",
            Verdict = Verdict.Log,
            What = "w",
        });
        Assert.DoesNotContain("null", line, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_key_is_documented()
    {
        string text = Sources.Read("docs/evidence.md");
        using JsonDocument document = JsonDocument.Parse(ViolationJson.ToLine(Full));
        Assert.Equal(typeof(Violation).GetProperties(BindingFlags.Public | BindingFlags.Instance).Length, document.RootElement.EnumerateObject().Count());
        foreach (JsonProperty property in document.RootElement.EnumerateObject())
            Assert.Contains($"`{property.Name}`", text, StringComparison.Ordinal);
    }
}
