using Hyperscope.Cli.Output;

namespace Hyperscope.Cli.Commands;

/// <summary><c>watch info</c>.</summary>
internal sealed class WatchInfoCommand : ToolCommand
{
    /// <summary>Adds its options.</summary>
    public WatchInfoCommand()
        : base(
            "info",
            "Show what watches cost a VM, and how many accesses beside them it dealt with by itself.",
            new Example("hyperscope watch info --kvmi unix:/run/vm.sock", "Did the last tool watch the right bytes?"))
    {
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(IntrospectedVm vm, ParseResult parsed, CancellationToken cancellation)
    {
        VmGetWatchInfoReply info = await vm.GetWatchInfoAsync(cancellation).ConfigureAwait(false);
        if (IsJson(parsed))
        {
            Console.WriteJson(
                new WatchInfoRecord(info.Frames, info.TableBytes, info.TableLimit, info.Passed, info.Asked), CliJson.Default.WatchInfoRecord);
            return ExitCode.Done;
        }

        Console.WriteTable(
            ["property", "value"],
            [
                ["pages with a watch", $"{info.Frames}"], ["memory used", $"{info.TableBytes} of {info.TableLimit} bytes"],
                ["accesses beside watched bytes", $"{info.Passed}"], ["accesses denied", $"{info.Asked}"],
            ]);
        return ExitCode.Done;
    }
}
