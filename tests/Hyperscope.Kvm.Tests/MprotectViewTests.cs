using Hyperscope.Vm;

namespace Hyperscope.Kvm.Tests;

/// <summary>The guest's view with mprotect alone.</summary>
[Collection(GuestViewTests.OneAtATime)]
public sealed class MprotectViewTests() : GuestViewTests(ProtectionMethod.Mprotect, PageAccess.Read | PageAccess.Execute)
{
    [Fact]
    public void More_alternating_pages_than_a_process_may_have_ranges_are_all_restricted()
    {
        const int Pages = 140_000;
        (int coarseBlocks, string[] found) = ProtectEveryOther(Pages);
        Assert.InRange(coarseBlocks, 1, Pages / ProtectedMapping.BlockFrames);
        int open = 0;
        for (int page = 0; page < Pages; page++)
        {
            if (found[page] != "---s" && found[page] != (page % 2 == 0 ? "r--s" : "rw-s"))
                Assert.Fail($"page {page} is {found[page]}");
            open += found[page] == "rw-s" ? 1 : 0;
        }

        Assert.InRange(open, 20_000, 30_000); // three quarters of vm.max_map_count, two for each
    }
}
