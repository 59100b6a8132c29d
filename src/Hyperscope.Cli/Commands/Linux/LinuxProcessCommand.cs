using System.Text.Json.Serialization.Metadata;
using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary>A command that shows one list of a process.</summary>
internal abstract class LinuxProcessCommand<TItem, TRecord> : LinuxListCommand<TItem, TRecord>
{
    private readonly Argument<int> _pid = new("pid") { Description = "Which process", CustomParser = Values.Count };

    /// <inheritdoc cref="LinuxListCommand{TItem, TRecord}(string, string, string, JsonTypeInfo{LinuxListRecord{TRecord}}, Example[])"/>
    protected LinuxProcessCommand(
        string name, string description, string headings, JsonTypeInfo<LinuxListRecord<TRecord>> type, params Example[] examples)
        : base(name, description, headings, type, examples) => Arguments.Add(_pid);

    /// <summary>Reads the list.</summary>
    protected abstract Task<GuestList<TItem>> ReadAsync(LinuxGuest guest, LinuxProcess process, CancellationToken cancellation);

    /// <inheritdoc/>
    protected sealed override async Task<IReadOnlyList<TItem>> ReadAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        LinuxProcess process = await ProcessAsync(guest, parsed.GetValue(_pid), cancellation).ConfigureAwait(false);
        return await ReadAsync(guest, process, cancellation).ConfigureAwait(false);
    }
}
