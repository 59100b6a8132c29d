using System.Collections;

namespace Hyperscope.GuestLinux;

/// <summary>Why a walk through guest memory ended before its natural end.</summary>
/// <param name="Reason">What was found: a cycle, a pointer to nowhere, more entries than are taken.</param>
/// <param name="Address">Where.</param>
public sealed record Truncation(string Reason, Gva Address)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Reason} at {Address}";
}

/// <summary>What a walk through guest memory found, and whether it is all.</summary>
/// <typeparam name="T">What it consists of.</typeparam>
public sealed class GuestList<T> : IReadOnlyList<T>
{
    private readonly IReadOnlyList<T> _items;

    internal GuestList(IReadOnlyList<T> items, Truncation? truncation)
    {
        _items = items;
        Truncation = truncation;
    }

    /// <summary>Why it is not all; null if it is.</summary>
    public Truncation? Truncation { get; }

    /// <inheritdoc/>
    public int Count => _items.Count;

    /// <inheritdoc/>
    public T this[int index] => _items[index];

    /// <inheritdoc/>
    public IEnumerator<T> GetEnumerator() => _items.GetEnumerator();

    /// <inheritdoc/>
    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
