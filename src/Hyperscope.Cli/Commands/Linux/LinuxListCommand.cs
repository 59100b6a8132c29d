using System.Text.Json.Serialization.Metadata;
using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary>A command that shows one list of the guest.</summary>
/// <typeparam name="TItem">What the list consists of.</typeparam>
/// <typeparam name="TRecord">The same as JSON.</typeparam>
internal abstract class LinuxListCommand<TItem, TRecord> : LinuxCommand
{
    private readonly string _headings;
    private readonly JsonTypeInfo<LinuxListRecord<TRecord>> _type;

    /// <summary>Makes it.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="description">What it does.</param>
    /// <param name="headings">Of the columns, with spaces between; empty for none.</param>
    /// <param name="type">How the records are written.</param>
    /// <param name="examples">For its help.</param>
    protected LinuxListCommand(string name, string description, string headings, JsonTypeInfo<LinuxListRecord<TRecord>> type, params Example[] examples)
        : base(name, description, examples) => (_headings, _type) = (headings, type);

    /// <summary>Reads the list.</summary>
    protected abstract Task<IReadOnlyList<TItem>> ReadAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation);

    /// <summary>An item as JSON.</summary>
    protected abstract TRecord Record(TItem item);

    /// <summary>An item as columns, of which the last may be of any width.</summary>
    protected abstract string[] Cells(TItem item);

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation)
    {
        IReadOnlyList<TItem> items = await ReadAsync(guest, parsed, cancellation).ConfigureAwait(false);
        return Write(parsed, items, (items as GuestList<TItem>)?.Truncation, Record, _type, _headings, Cells);
    }
}
