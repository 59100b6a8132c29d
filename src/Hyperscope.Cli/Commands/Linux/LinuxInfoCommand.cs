using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux info</c>.</summary>
internal sealed class LinuxInfoCommand() : LinuxCommand(
    "info",
    "Show which kernel runs in a VM and where.",
    new Example("hyperscope linux info --kvmi unix:/run/vm.sock", "Which kernel is it, and how far was it moved?"))
{
    /// <inheritdoc/>
    protected override Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        KernelLayout layout = guest.Layout;
        var record = new LinuxInfoRecord(
            guest.Banner, guest.Release, guest.BuildId, $"0x{layout.Slide:x}", $"{layout.Text}", $"{layout.Rodata}", $"{layout.Data}", $"{layout.Image}",
            $"{layout.PhysicalText}", $"{layout.PageTable}", $"{layout.DirectMap}", guest.Symbols.Count, guest.HasBtf ? guest.Btf.Count : 0,
            (int)guest.AttachTime.TotalMilliseconds, guest.IsFromProfile);
        if (IsJson(parsed))
        {
            Console.WriteJson(record, LinuxJson.Default.LinuxInfoRecord);
            return Task.FromResult(ExitCode.Done);
        }

        foreach ((string name, string value) in new[]
        {
            ("release", record.Release), ("build id", record.BuildId), ("slide", record.Slide), ("text", record.Text), ("rodata", record.Rodata),
            ("data", record.Data), ("image", record.Image), ("text at gpa", record.PhysicalText), ("page table", record.PageTable),
            ("direct map", record.DirectMap), ("symbols", $"{record.Symbols}"), ("types", guest.HasBtf ? $"{record.Types}" : "none (no BTF)"),
            ("found in", $"{record.AttachMilliseconds} ms{(record.FromProfile ? ", from a profile" : "")}"), ("banner", record.Banner),
        })
        {
            Console.Out.WriteLine($"{name,-12} {value}");
        }

        return Task.FromResult(ExitCode.Done);
    }
}
