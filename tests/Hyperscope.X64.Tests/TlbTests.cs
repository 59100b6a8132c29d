namespace Hyperscope.X64.Tests;

public sealed unsafe class TlbTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(32)]
    [InlineData(33)]
    [InlineData(Tlb.Entries)]
    public void Flush_forgets_every_translation_however_many_there_are(int fills)
    {
        using var tlb = new Tlb();
        for (int round = 0; round < 3; round++)
        {
            for (int context = 0; context < Tlb.Contexts; context++)
            {
                TlbEntry* set = tlb.Select(context);
                for (int index = 0; index < fills; index++)
                {
                    TlbEntry* entry = set + (((index * 7) + round) & (int)Tlb.IndexMask);
                    tlb.NoteFill(entry);
                    entry->ReadTag = entry->WriteTag = entry->ExecuteTag = (ulong)index;
                }
            }

            tlb.Flush();
            for (int context = 0; context < Tlb.Contexts; context++)
            {
                TlbEntry* set = tlb.Select(context);
                for (int index = 0; index < Tlb.Entries; index++)
                {
                    Assert.Equal(
                        (TlbEntry.NoPage, TlbEntry.NoPage, TlbEntry.NoPage), (set[index].ReadTag, set[index].WriteTag, set[index].ExecuteTag));
                }
            }
        }
    }
}
