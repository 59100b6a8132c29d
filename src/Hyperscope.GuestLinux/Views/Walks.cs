namespace Hyperscope.GuestLinux;

/// <summary>Walks through the kernel's containers. Each one is bounded, and says where it was cut off.</summary>
internal sealed class Walks(GuestReader reader, Btf btf, int maxEntries)
{
    private const int MaxDepth = 64;

    /// <summary>Entries that a walk takes at most.</summary>
    public int MaxEntries => maxEntries;

    /// <summary>Why the last walk, or one before it, was cut off; null if none was.</summary>
    public Truncation? Truncation { get; private set; }

    /// <summary>Notes that something is not all. The first reason stays.</summary>
    public void CutOff(string reason, Gva at) => Truncation ??= new Truncation(reason, at);

    /// <summary>Whether a pointer may be one of the kernel's: upper half, aligned to <paramref name="alignment"/>.</summary>
    public static bool IsPointer(Gva gva, int alignment = 8) => (long)gva.Value < 0 && gva.Value % (ulong)alignment == 0 && gva.Value < ulong.MaxValue - 0xfff;

    /// <summary>The entries of a circular list.</summary>
    /// <param name="head">The list head, which is no entry.</param>
    /// <param name="link">Bytes from the start of an entry to its link.</param>
    /// <param name="what">What the list holds, for people.</param>
    /// <param name="cancellation">Ends the walk.</param>
    public async ValueTask<List<Gva>> ListAsync(Gva head, int link, string what, CancellationToken cancellation)
    {
        var entries = new List<Gva>();
        var seen = new HashSet<ulong>();
        Gva at = head;
        while (true)
        {
            Gva next;
            try
            {
                next = await reader.ReadPointerAsync(at, cancellation).ConfigureAwait(false);
            }
            catch (GuestAddressException)
            {
                CutOff($"the list of {what} leads to an address without memory", at);
                break;
            }

            if (next == head)
                break;
            if (!IsPointer(next))
            {
                CutOff($"the list of {what} has the wild pointer {next}", at);
                break;
            }

            if (!seen.Add(next.Value))
            {
                CutOff($"the list of {what} runs in a circle", next);
                break;
            }

            if (entries.Count >= maxEntries)
            {
                CutOff($"the list of {what} has more than {maxEntries} entries", next);
                break;
            }

            entries.Add(new Gva(next.Value - (ulong)link));
            at = next;
        }

        return entries;
    }

    /// <summary>The entries of a chain that ends with a null pointer.</summary>
    /// <param name="first">Address of the first entry, or null.</param>
    /// <param name="link">Bytes from the start of an entry to the pointer to the next one.</param>
    /// <param name="what">What the chain holds, for people.</param>
    /// <param name="cancellation">Ends the walk.</param>
    public async ValueTask<List<Gva>> ChainAsync(Gva first, int link, string what, CancellationToken cancellation)
    {
        var entries = new List<Gva>();
        var seen = new HashSet<ulong>();
        for (Gva at = first; at.Value != 0;)
        {
            if (!IsPointer(at) || !seen.Add(at.Value) || entries.Count >= maxEntries)
            {
                CutOff($"the chain of {what} has a wild pointer, a circle or more than {maxEntries} entries", at);
                break;
            }

            entries.Add(at);
            try
            {
                at = await reader.ReadPointerAsync(at + (ulong)link, cancellation).ConfigureAwait(false);
            }
            catch (GuestAddressException)
            {
                CutOff($"the chain of {what} leads to an address without memory", at);
                break;
            }
        }

        return entries;
    }

    /// <summary>Reads a structure, or notes that it has no memory.</summary>
    /// <param name="slice">The part of it that is wanted.</param>
    /// <param name="at">Its address.</param>
    /// <param name="what">What it is, for people: <c>a module</c>.</param>
    /// <param name="cancellation">Ends the reading.</param>
    public async ValueTask<StructView?> TryReadAsync(BtfSlice slice, Gva at, string what, CancellationToken cancellation)
    {
        try
        {
            return await reader.ReadSliceAsync(slice, at, cancellation).ConfigureAwait(false);
        }
        catch (GuestAddressException missing)
        {
            CutOff($"{what} has no memory", missing.Gva);
            return null;
        }
    }

    /// <summary>Reads a pointer; null, and noted, if it has no memory.</summary>
    public async ValueTask<Gva> PointerAsync(Gva at, string what, CancellationToken cancellation)
    {
        try
        {
            return await reader.ReadPointerAsync(at, cancellation).ConfigureAwait(false);
        }
        catch (GuestAddressException)
        {
            CutOff($"{what} leads to an address without memory", at);
            return default;
        }
    }

    /// <summary>The pointers in an XArray or IDR, in order of their index.</summary>
    /// <param name="xarray">Address of the <c>struct xarray</c>.</param>
    /// <param name="what">What it holds, for people.</param>
    /// <param name="cancellation">Ends the walk.</param>
    public async ValueTask<List<(ulong Index, Gva Entry)>> XArrayAsync(Gva xarray, string what, CancellationToken cancellation)
    {
        var entries = new List<(ulong, Gva)>();
        try
        {
            Gva head = await reader.ReadPointerAsync(xarray + (ulong)btf.StructOf("xarray").Offset("xa_head"), cancellation).ConfigureAwait(false);
            if (IsXaNode(head))
            {
                var seen = new HashSet<ulong>();
                await CollectXaAsync(head, 0, byte.MaxValue, entries, seen, what, cancellation).ConfigureAwait(false);
            }
            else if (IsPointer(head, 4))
            {
                entries.Add((0, head));
            }
        }
        catch (GuestAddressException missing)
        {
            CutOff($"the tree of {what} leads to an address without memory", missing.Gva);
        }

        return entries;
    }

    /// <summary>The values in a maple tree, in order of their index.</summary>
    /// <param name="tree">Address of the <c>struct maple_tree</c>.</param>
    /// <param name="what">What it holds, for people.</param>
    /// <param name="cancellation">Ends the walk.</param>
    public async ValueTask<List<Gva>> MapleAsync(Gva tree, string what, CancellationToken cancellation)
    {
        var entries = new List<Gva>();
        try
        {
            Gva root = await reader.ReadPointerAsync(tree + (ulong)btf.StructOf("maple_tree").Offset("ma_root"), cancellation).ConfigureAwait(false);
            if (IsXaNode(root))
                await CollectMapleAsync(root, ulong.MaxValue, 0, entries, [], what, cancellation).ConfigureAwait(false);
            else if (IsPointer(root))
                entries.Add(root);
        }
        catch (GuestAddressException missing)
        {
            CutOff($"the tree of {what} leads to an address without memory", missing.Gva);
        }

        return entries;
    }

    /// <summary>The nodes of a red-black tree, in no order.</summary>
    /// <param name="root">The top <c>struct rb_node</c>, or null.</param>
    /// <param name="what">What it holds, for people.</param>
    /// <param name="cancellation">Ends the walk.</param>
    public async ValueTask<List<Gva>> RedBlackAsync(Gva root, string what, CancellationToken cancellation)
    {
        var nodes = new List<Gva>();
        var seen = new HashSet<ulong>();
        var pending = new Stack<Gva>();
        pending.Push(root);
        BtfStruct type = btf.StructOf("rb_node");
        while (pending.TryPop(out Gva node))
        {
            if (node.Value == 0)
                continue;
            if (!IsPointer(node) || !seen.Add(node.Value) || nodes.Count >= maxEntries)
            {
                CutOff($"the tree of {what} has a wild pointer, a circle or more than {maxEntries} nodes", node);
                continue;
            }

            try
            {
                StructView view = await reader.ReadStructAsync(type, node, cancellation).ConfigureAwait(false);
                nodes.Add(node);
                pending.Push(view.Pointer("rb_left"));
                pending.Push(view.Pointer("rb_right"));
            }
            catch (GuestAddressException)
            {
                CutOff($"the tree of {what} leads to an address without memory", node);
            }
        }

        return nodes;
    }

    private bool HasRoom(int count, string what, Gva at)
    {
        if (count >= maxEntries)
            CutOff($"the tree of {what} has more than {maxEntries} entries", at);
        return count < maxEntries;
    }

    // Source: Linux include/linux/xarray.h. Node pointers end in binary 10 and are no small numbers.
    private static bool IsXaNode(Gva entry) => (entry.Value & 3) == 2 && entry.Value > 4096;

    private async ValueTask CollectXaAsync(Gva entry, ulong index, ulong above, List<(ulong Index, Gva Entry)> entries, HashSet<ulong> seen, string what,
        CancellationToken cancellation)
    {
        var address = new Gva(entry.Value & ~3UL);
        BtfStruct type = btf.StructOf("xa_node");
        if (!IsPointer(address) || !seen.Add(address.Value) || seen.Count > maxEntries)
        {
            CutOff($"the tree of {what} has a wild pointer, a circle or more than {maxEntries} nodes", address);
            return;
        }

        StructView node = await reader.ReadStructAsync(type, address, cancellation).ConfigureAwait(false);
        ulong shift = node.Unsigned("shift");
        byte[] slots = node.Bytes("slots").ToArray();
        if (shift >= above || shift >= 64)
        {
            CutOff($"the tree of {what} has a node of shift {shift} below one of shift {above}", address);
            return;
        }

        var children = new List<(ulong Index, Gva Entry)>();
        for (int i = 0; i + 8 <= slots.Length; i += 8)
        {
            var slot = new Gva(BinaryPrimitives.ReadUInt64LittleEndian(slots.AsSpan(i)));
            ulong at = index + ((ulong)i / 8 << (int)shift);
            if (shift != 0 && IsXaNode(slot))
                children.Add((at, slot));
            else if (IsPointer(slot, 4) && HasRoom(entries.Count, what, address))
                entries.Add((at, slot));
        }

        await reader.PrefetchAsync(children.Select(child => (new Gva(child.Entry.Value & ~3UL), type.Size)), cancellation).ConfigureAwait(false);
        foreach ((ulong at, Gva child) in children)
            await CollectXaAsync(child, at, shift, entries, seen, what, cancellation).ConfigureAwait(false);
    }

    // Source: Linux include/linux/maple_tree.h. Bits 3 to 6 of a node pointer are its type; nodes are 256 bytes.
    private async ValueTask CollectMapleAsync(Gva entry, ulong last, int depth, List<Gva> entries, HashSet<ulong> seen, string what,
        CancellationToken cancellation)
    {
        const int Leaf = 1, GapRange = 3; // 2 is a node without gaps
        var address = new Gva(entry.Value & ~0xffUL);
        int kind = (int)(entry.Value >> 3 & 15);
        if (seen.Count >= maxEntries)
        {
            CutOff($"the tree of {what} has more than {maxEntries} nodes", address);
            return;
        }

        if (!IsPointer(address) || !seen.Add(address.Value) || depth > MaxDepth || kind is < Leaf or > GapRange)
        {
            CutOff($"the tree of {what} has the bad node pointer {entry}", address);
            return;
        }

        BtfStruct type = btf.StructOf(kind == GapRange ? "maple_arange_64" : "maple_range_64");
        StructView node = await reader.ReadStructAsync(type, address, cancellation).ConfigureAwait(false);
        byte[] pivots = node.Bytes("pivot").ToArray(), slots = node.Bytes("slot").ToArray();
        var children = new List<(Gva Entry, ulong Last)>();
        for (int i = 0; i < slots.Length / 8; i++)
        {
            // A pivot is the last index of its slot; the last slot, or one whose pivot is 0, goes to the end of the node.
            ulong pivot = i < pivots.Length / 8 ? BinaryPrimitives.ReadUInt64LittleEndian(pivots.AsSpan(i * 8)) : last;
            if (pivot == 0 && i > 0)
                pivot = last;
            var slot = new Gva(BinaryPrimitives.ReadUInt64LittleEndian(slots.AsSpan(i * 8)));
            if (kind != Leaf && slot.Value != 0)
                children.Add((slot, pivot));
            else if (kind == Leaf && IsPointer(slot) && HasRoom(entries.Count, what, address))
                entries.Add(slot);
            if (pivot >= last)
                break;
        }

        await reader.PrefetchAsync(children.Select(static child => (new Gva(child.Entry.Value & ~0xffUL), 256)), cancellation).ConfigureAwait(false);
        foreach ((Gva child, ulong end) in children)
            await CollectMapleAsync(child, end, depth + 1, entries, seen, what, cancellation).ConfigureAwait(false);
    }
}
