namespace Hyperscope.Client;

/// <summary>Remembers the rights that a connection gave to pages. Safe from any thread.</summary>
internal sealed class PageAccessLedger
{
    private readonly Lock _gate = new();
    private readonly SortedDictionary<ulong, PageAccess> _restricted = [];

    /// <summary>Notes what is being asked for.</summary>
    public void Note(ReadOnlySpan<PageAccessEntry> entries)
    {
        lock (_gate)
        {
            foreach (PageAccessEntry entry in entries)
            {
                if (entry.Access == PageAccess.All)
                    _restricted.Remove(entry.Gpa.Frame.Value);
                else
                    _restricted[entry.Gpa.Frame.Value] = entry.Access;
            }
        }
    }

    /// <summary>The pages that are not <c>rwx</c>, in order.</summary>
    public KeyValuePair<Gfn, PageAccess>[] Restricted()
    {
        lock (_gate)
            return [.. _restricted.Select(static page => KeyValuePair.Create(new Gfn(page.Key), page.Value))];
    }
}
