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

    private async Task<Walks> WalksAsync()
    {
        LinuxGuest guest = await _synthetic.AttachAsync();
        return new Walks(guest.OpenMemory(), guest.Btf, 500);
    }

    private async Task<(Walks Walks, List<Gva> Entries)> MapleAsync()
    {
        Walks walks = await WalksAsync();
        return (walks, await walks.MapleAsync(new Gva(SyntheticGuest.Direct(Tree)), "areas", Cancel));
    }

    private async Task<(Walks Walks, List<Gva> Nodes)> RedBlackAsync()
    {
        Walks walks = await WalksAsync();
        return (walks, await walks.RedBlackAsync(new Gva(SyntheticGuest.Direct(Node)), "nodes", Cancel));
    }
}
