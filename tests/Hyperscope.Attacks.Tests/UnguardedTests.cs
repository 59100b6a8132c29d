namespace Hyperscope.Attacks.Tests;

/// <summary>Nobody guards the guest: each attack works, and leaves the guest as it was.</summary>
public sealed class UnguardedTests(LabGuest guest)
{
    public static TheoryData<string> Attacks() => [.. AttackLab.All.Select(static attack => attack.Name)];

    [Theory]
    [MemberData(nameof(Attacks))]
    public async Task Attack_works_twice_and_takes_its_effect_back(string name)
    {
        LabAttack attack = AttackLab.Find(name);
        for (int round = 0; round < 2; round++)
            Assert.StartsWith(attack.SuccessLine, await guest.StrikeAsync(attack), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_program_knows_the_attacks_of_the_list_and_no_others()
    {
        string[] usage = await guest.RunAsync($"{AttackLab.GuestFolder}/attack");
        Assert.Equal(AttackLab.All.Select(static attack => attack.Name), usage.Where(static line => line.StartsWith("  ", StringComparison.Ordinal))
            .Select(static line => line.Trim().Split(':')[0]));
    }

    [Fact]
    public async Task The_guest_has_nothing_to_complain_of_afterwards()
    {
        await guest.RunAsync($"{AttackLab.GuestFolder}/attack all");
        Assert.Empty(await guest.ComplaintsAsync());
    }
}
