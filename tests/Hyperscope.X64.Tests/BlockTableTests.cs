using Hyperscope.X64.Execution;

namespace Hyperscope.X64.Tests;

public sealed unsafe class BlockTableTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Random_additions_removals_and_searches_agree_with_a_dictionary(int seed)
    {
        var random = new Random(seed);
        using var table = new BlockTable();
        var model = new Dictionary<BlockKey, nint>();
        for (int step = 0; step < 200_000; step++)
        {
            // A few thousand keys, close together, so that removed ones come back and the table grows.
            var key = new BlockKey((ulong)random.Next(3000) << 4, 0xFFFF_FFFF_8100_0000 + (ulong)random.Next(2), (byte)random.Next(3), random.Next(2));
            switch (random.Next(step % 40_000 < 20_000 ? 3 : 8))
            {
                case 0 or 1:
                    nint block = 16 + random.Next();
                    table.Set(key, (Op*)block);
                    model[key] = block;
                    break;
                case 2 or 3:
                    Assert.Equal(model.GetValueOrDefault(key), (nint)table.Find(key));
                    break;
                default:
                    table.Remove(key);
                    model.Remove(key);
                    break;
            }

            Assert.Equal(model.Count, table.Count);
        }

        Assert.All(model, pair => Assert.Equal(pair.Value, (nint)table.Find(pair.Key)));
        table.Clear();
        Assert.All(model, pair => Assert.True(table.Find(pair.Key) == null));
    }
}
