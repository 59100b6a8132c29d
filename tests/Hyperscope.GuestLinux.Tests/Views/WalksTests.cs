using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>Trees of the kernel, whole and broken.</summary>
public sealed class WalksTests
{
    private const ulong Tree = 0x1a00000, Node = 0x1a01000;

    private readonly SyntheticGuest _synthetic = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private FlatMemory Memory => _synthetic.Memory;

    [Fact]
    public async Task A_maple_tree_of_two_levels_is_walked_in_order()
    {
        // arange node (type 3) above two leaves (type 1); the last slot ends where its node ends.
        Memory.Write(Tree + 8, SyntheticGuest.Direct(Node) | 3 << 3 | 2);
        Memory.Write(Node + 8, 0xffff);
        Memory.Write(Node + 80, SyntheticGuest.Direct(Node + 0x100) | 1 << 3 | 4);
        Memory.Write(Node + 88, SyntheticGuest.Direct(Node + 0x200) | 1 << 3 | 4);
        Leaf(Node + 0x100, (0x0fff, 0), (0x1fff, 0xffff888000100000), (0xffff, 0xffff888000200000));
        Leaf(Node + 0x200, (0x1ffff, 0xffff888000300000), (0x2ffff, 0), (0x3ffff, 0xffff888000400000), (0, 0));
        (Walks walks, List<Gva> entries) = await MapleAsync();
        Assert.Null(walks.Truncation);
        Assert.Equal([0xffff888000100000, 0xffff888000200000, 0xffff888000300000, 0xffff888000400000], entries.Select(static entry => entry.Value));
    }

    [Fact]
    public async Task A_maple_tree_of_one_entry_has_no_node()
    {
        Memory.Write(Tree + 8, 0xffff888000100000);
        Assert.Equal([new Gva(0xffff888000100000)], (await MapleAsync()).Entries);
        Memory.Write(Tree + 8, 0);
        Assert.Empty((await MapleAsync()).Entries);
    }

    [Fact]
    public async Task A_maple_node_that_leads_to_itself_is_cut_off()
    {
        Memory.Write(Tree + 8, SyntheticGuest.Direct(Node) | 2 << 3 | 2);
        for (ulong slot = 0; slot < 16; slot++)
            Memory.Write(Node + 128 + (slot * 8), SyntheticGuest.Direct(Node) | 2 << 3 | 2);
        for (ulong pivot = 0; pivot < 15; pivot++)
            Memory.Write(Node + 8 + (pivot * 8), pivot + 1);
        Assert.Contains("bad node pointer", (await MapleAsync()).Walks.Truncation!.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_maple_tree_of_more_entries_than_are_taken_says_so()
    {
        Memory.Write(Tree + 8, SyntheticGuest.Direct(Node) | 1 << 3 | 2);
        Leaf(Node, [.. Enumerable.Range(1, 15).Select(static i => ((ulong)i * 0x1000, 0xffff888000100000 + ((ulong)i * 0x100)))]);
        (Walks walks, List<Gva> entries) = await MapleAsync(maxEntries: 15);
        Assert.Equal((15, null), (entries.Count, walks.Truncation));
        (walks, entries) = await MapleAsync(maxEntries: 14);
        Assert.Equal(14, entries.Count);
        Assert.Contains("more than 14 entries", walks.Truncation!.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_maple_tree_of_nodes_that_hold_nothing_ends()
    {
        // 1 + 15 + 225 + 3375 nodes.
        Memory.Write(Tree + 8, SyntheticGuest.Direct(Node) | 2 << 3 | 2);
        for (ulong node = 0; node < 241; node++)
        {
            ulong at = Node + (node * 0x100);
            for (ulong slot = 0; slot < 15; slot++)
            {
                Memory.Write(at + 8 + (slot * 8), slot + 1);
                Memory.Write(at + 128 + (slot * 8), SyntheticGuest.Direct(Node + (((node * 15) + slot + 1) * 0x100)) | 2 << 3 | 4);
            }
        }

        (Walks walks, List<Gva> entries) = await MapleAsync(maxEntries: 100);
        Assert.Empty(entries);
        Assert.Contains("more than 100 nodes", walks.Truncation!.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_index_of_nodes_that_hold_nothing_ends()
    {
        // 1 + 8 + 64 nodes.
        XaNode(0, 48, 1, 2, 3, 4, 5, 6, 7, 8);
        for (int node = 1; node <= 8; node++)
            XaNode(node, 42, [.. Enumerable.Range(0, 8).Select(child => (node * 8) + 1 + child)]);
        Memory.Write(Tree + 8, SyntheticGuest.Direct(Node) | 2);
        Walks walks = await WalksAsync(20);
        Assert.Empty(await walks.XArrayAsync(new Gva(SyntheticGuest.Direct(Tree)), "things", Cancel));
        Assert.Contains("more than 20 nodes", walks.Truncation!.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_index_of_more_entries_than_are_taken_says_so()
    {
        Memory.Write(Tree + 8, SyntheticGuest.Direct(Node) | 2);
        for (ulong slot = 0; slot < SyntheticTypes.Slots; slot++)
            Memory.Write(Node + 16 + (slot * 8), 0xffff888000100000 + (slot * 0x100));
        Walks walks = await WalksAsync(SyntheticTypes.Slots);
        Assert.Equal(SyntheticTypes.Slots, (await walks.XArrayAsync(new Gva(SyntheticGuest.Direct(Tree)), "things", Cancel)).Count);
        Assert.Null(walks.Truncation);
        walks = await WalksAsync(SyntheticTypes.Slots - 1);
        Assert.Equal(SyntheticTypes.Slots - 1, (await walks.XArrayAsync(new Gva(SyntheticGuest.Direct(Tree)), "things", Cancel)).Count);
        Assert.Contains("more than 7 entries", walks.Truncation!.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_shift_that_a_guest_calls_negative_is_cut_off()
    {
        // The guest says itself how long the field is. Below a node of a negative shift there would be room for 2^31 more, one in the other.
        var types = new BtfBuilder();
        types.Struct("xarray", 16, ("xa_flags", types.Int32, 4), ("xa_head", types.Void, 8));
        types.Struct("xa_node", 16 + (8 * SyntheticTypes.Slots), ("shift", types.Int32, 0), ("slots", types.Array(types.Void, SyntheticTypes.Slots), 16));
        Memory.Write(Tree + 8, SyntheticGuest.Direct(Node) | 2);
        Memory.Write(Node, uint.MaxValue);
        LinuxGuest guest = await _synthetic.AttachAsync();
        var walks = new Walks(guest.OpenMemory(), Btf.Parse(types.Build()), 500);
        Assert.Empty(await walks.XArrayAsync(new Gva(SyntheticGuest.Direct(Tree)), "things", Cancel));
        Assert.Contains("has a node of shift 4294967295", walks.Truncation!.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_red_black_tree_is_walked_whole_and_a_circle_in_it_is_cut_off()
    {
        RedBlack(0, 1, 2);
        RedBlack(1, 3, -1);
        RedBlack(2, -1, -1);
        RedBlack(3, -1, -1);
        (Walks walks, List<Gva> nodes) = await RedBlackAsync();
        Assert.Null(walks.Truncation);
        Assert.Equal(4, nodes.Count);
        RedBlack(3, 0, 2);
        (walks, nodes) = await RedBlackAsync();
        Assert.Equal(4, nodes.Count);
        Assert.Contains("circle", walks.Truncation!.Reason, StringComparison.Ordinal);
    }

    private void Leaf(ulong node, params (ulong Pivot, ulong Entry)[] slots)
    {
        for (int i = 0; i < slots.Length; i++)
        {
            Memory.Write(node + 8 + ((ulong)i * 8), slots[i].Pivot);
            Memory.Write(node + 128 + ((ulong)i * 8), slots[i].Entry);
        }
    }

    private void RedBlack(int index, int left, int right)
    {
        ulong at = Node + ((ulong)index * 64);
        Memory.Write(at + 8, right < 0 ? 0 : SyntheticGuest.Direct(Node + ((ulong)right * 64)));
        Memory.Write(at + 16, left < 0 ? 0 : SyntheticGuest.Direct(Node + ((ulong)left * 64)));
    }

    private void XaNode(int index, byte shift, params int[] children)
    {
        ulong at = Node + ((ulong)index * 0x100);
        Memory.Bytes[at] = shift;
        for (int i = 0; i < children.Length; i++)
            Memory.Write(at + 16 + ((ulong)i * 8), SyntheticGuest.Direct(Node + ((ulong)children[i] * 0x100)) | 2);
    }

    private async Task<Walks> WalksAsync(int maxEntries = 500)
    {
        LinuxGuest guest = await _synthetic.AttachAsync();
        return new Walks(guest.OpenMemory(), guest.Btf, maxEntries);
    }

    private async Task<(Walks Walks, List<Gva> Entries)> MapleAsync(int maxEntries = 500)
    {
        Walks walks = await WalksAsync(maxEntries);
        return (walks, await walks.MapleAsync(new Gva(SyntheticGuest.Direct(Tree)), "areas", Cancel));
    }

    private async Task<(Walks Walks, List<Gva> Nodes)> RedBlackAsync()
    {
        Walks walks = await WalksAsync();
        return (walks, await walks.RedBlackAsync(new Gva(SyntheticGuest.Direct(Node)), "nodes", Cancel));
    }
}
