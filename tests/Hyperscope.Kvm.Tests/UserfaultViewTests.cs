using Hyperscope.Vm;

namespace Hyperscope.Kvm.Tests;

/// <summary>The guest's view where userfaultfd denies writes.</summary>
[Collection(GuestViewTests.OneAtATime)]
public sealed class UserfaultViewTests() : GuestViewTests(ProtectionMethod.Userfaultfd, PageAccess.None)
{
    private const PageAccess NoWrite = PageAccess.Read | PageAccess.Execute;

    [Fact]
    public void Denied_writes_to_more_pages_than_a_process_may_have_ranges_are_exact()
    {
        const int Pages = 140_000;
        int before = RangeBudget.OfProcess.Used;
        (int coarseBlocks, string[] found) = ProtectEveryOther(Pages);
        Assert.Equal(0, coarseBlocks);
        for (int page = 0; page < Pages; page++)
        {
            if (found[page] != (page % 2 == 0 ? "r--s" : "rw-s"))
                Assert.Fail($"page {page} is {found[page]}");
        }

        Assert.Equal(before, RangeBudget.OfProcess.Used);
    }

    [Fact]
    public void Memory_in_a_file_that_userfaultfd_does_not_take_is_protected_all_the_same()
    {
        string path = Path.Combine(AppContext.BaseDirectory, $"hyperscope-{Guid.NewGuid():N}");
        try
        {
            using var memory = new GuestMemory(path);
            _ = memory.AddSlot(new Gpa(0), 8 * Gfn.PageSize);
            Assert.Equal("r--s", ProtectionIn(memory, NoWrite));
            Assert.Equal("rw-s", ProtectionIn(memory, PageAccess.All));
        }
        finally
        {
            File.Delete(path);
        }
    }
}
